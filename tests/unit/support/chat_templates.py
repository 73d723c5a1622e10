"""Small chat templates, each with what is peculiar about a family's real one."""

# ruff: noqa: RUF001 - DeepSeek's markers have bars that are as wide as that

from __future__ import annotations

HERMES = """
{%- if tools %}
{{- '<|im_start|>system\\n' + (messages[0].content + '\\n\\n' if messages[0].role == 'system' else '') }}
{{- '# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{{- '\\n</tools>\\nWrite <tool_call>\\n{"name": <name>, "arguments": <object>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|im_start|>assistant' + ('\\n' + message.content if message.content else '') }}
{%- for call in message.tool_calls %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- (call.function.arguments | tojson) + '}\\n</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.role == 'user' or not (tools and loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{{- '<|im_start|>assistant\\n' }}"""

LLAMA3 = """
{%- if tools %}{{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and' }}
{{- ' its value}.\\n' }}{%- for tool in tools %}{{- tool | tojson(indent=4) }}{%- endfor %}{%- endif %}
{%- for message in messages %}
{%- if 'tool_calls' in message %}
{%- if message.tool_calls | length != 1 %}{{- raise_exception('one call at a time') }}{%- endif %}
{%- set call = message.tool_calls[0].function %}
{{- '<|assistant|>{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + '}<|eot_id|>' }}
{%- elif message.role == 'tool' %}{{- '<|ipython|>' + (message.content | tojson) + '<|eot_id|>' }}
{%- else %}{{- '<|' + message.role + '|>' + message.content + '<|eot_id|>' }}{%- endif %}
{%- endfor %}{{- '<|assistant|>' }}"""

MISTRAL = """
{%- for message in messages %}
{%- if message.role == 'user' %}
{%- if tools and loop.last %}{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{%- endif %}
{{- '[INST]' + message.content + '[/INST]' }}
{%- elif message.role == 'system' %}{{- '[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]' }}
{%- elif message.tool_calls is defined %}
{{- '[TOOL_CALLS][' }}
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{- raise_exception('ids have nine letters') }}{%- endif %}
{{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + ('' if loop.last else ', ') }}
{%- endfor %}{{- ']</s>' }}
{%- elif message.role == 'tool' %}
{%- if message.tool_call_id | length != 9 %}{{- raise_exception('ids have nine letters') }}{%- endif %}
{{- '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' }}
{%- else %}{{- message.content + '</s>' }}{%- endif %}
{%- endfor %}"""

DEEPSEEK = """
{%- for message in messages %}
{%- if message.role == 'system' %}{{- message.content }}
{%- elif message.role == 'user' %}{{- '<｜User｜>' + message.content }}
{%- elif message.role == 'tool' %}{{- '<｜tool▁output▁begin｜>' + message.content + '<｜tool▁output▁end｜>' }}
{%- elif message.content is none %}
{{- '<｜Assistant｜><｜tool▁calls▁begin｜>' }}
{%- for call in message.tool_calls %}
{{- '<｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>' + call.function.name + '\\n```json\\n' }}
{{- call.function.arguments + '\\n```<｜tool▁call▁end｜>' }}
{%- endfor %}{{- '<｜tool▁calls▁end｜>' }}
{%- else %}{{- '<｜Assistant｜>' + message.content }}{%- endif %}
{%- endfor %}{{- '<｜Assistant｜>' }}"""

FUNCTIONARY = """
{%- for tool in tools or [] %}{{- "Use '" + tool.function.name + "' to " + tool.function.description + '\\n' }}
{{- (tool.function | tojson) + '\\n<function=name>{"key": "value"}</function>\\n' }}{%- endfor %}
{%- for message in messages %}
{{- '<|' + message.role + '|>' + (message.content or '') }}
{%- for call in message.tool_calls %}
{{- '<function=' + call.function.name + '>' + call.function.arguments + '</function>' }}
{%- endfor %}
{%- if message.role == 'tool' %}{{- '<|ipython|>' }}{%- endif %}
{%- endfor %}"""

HARMONY = """
{%- if tools %}{{- '# Tools\\nnamespace functions {' + (tools | tojson) + '}' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' and message.tool_calls %}
{%- set call = message.tool_calls[0].function %}
{{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json<|message|>' }}
{{- (call.arguments | tojson) + '<|call|>' }}
{%- elif message.role == 'tool' %}{{- '<|start|>functions<|message|>' + (message.content | tojson) + '<|end|>' }}
{%- else %}{{- '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}{%- endif %}
{%- endfor %}{{- '<|start|>assistant' }}"""

CHATML = """
{%- if messages[0].role != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}{{- '<|im_start|>assistant\\n' }}"""

GEMMA = """
{%- if messages[0].role == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}
{{- '<start_of_turn>' + message.role + '\\n' + message.content + '<end_of_turn>\\n' }}
{%- endfor %}"""

PHI = """
{%- for message in messages %}
{%- if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}
{{- '<|system|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|><|end|>' }}
{%- else %}{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{%- endif %}
{%- endfor %}{{- '<|assistant|>' }}"""

KIMI = """
{%- if tools %}{{- '<|im_system|>tool_declare<|im_middle|>' + (tools | tojson) + '<|im_end|>' }}{%- endif %}
{%- for message in messages %}
{{- '<|im_' + message.role + '|>' + (message.get('name') or message.role) + '<|im_middle|>' }}
{%- if message.role == 'assistant' and message.get('tool_calls') %}
{{- (message.content or '') + '<|tool_calls_section_begin|>' }}
{%- for call in message.tool_calls %}
{{- '<|tool_call_begin|>' + call.id + '<|tool_call_argument_begin|>' }}
{{- (call.function.arguments | tojson) + '<|tool_call_end|>' }}
{%- endfor %}{{- '<|tool_calls_section_end|>' }}
{%- elif message.role == 'tool' %}{{- '## Return of ' + message.tool_call_id + '\\n' + message.content }}
{%- else %}{{- message.content }}{%- endif %}
{{- '<|im_end|>' }}
{%- endfor %}{{- '<|im_assistant|>assistant<|im_middle|>' }}"""

_TURNS = """
{%- if tools %}{{- '<|system|># Tools' + (tools | tojson) }}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' and message.tool_calls %}{{- '<|assistant|>' + message.content }}
CALLS
{%- elif message.role == 'tool' %}{{- '<|observation|>' + message.content }}
{%- else %}{{- '<|' + message.role + '|>' + message.content }}{%- endif %}
{%- endfor %}{{- '<|assistant|>' }}"""

TAGGED_TEMPLATES = {
    "qwen-coder": _TURNS.replace(
        "CALLS",
        """
{%- for call in message.tool_calls %}{{- '\\n<tool_call>\\n<function=' + call.function.name + '>\\n' }}
{%- for name, value in call.function.arguments | items %}{{- '<parameter=' + name + '>\\n' }}
{{- (value if value is string else value | tojson) + '\\n</parameter>\\n' }}{%- endfor %}
{{- '</function>\\n</tool_call>' }}{%- endfor %}""",
    ),
    "seed": _TURNS.replace(
        "CALLS",
        """
{%- for call in message.tool_calls %}{{- '\\n<seed:tool_call>\\n<function=' + call.function.name + '>' }}
{%- for name, value in call.function.arguments | items %}{{- '\\n<parameter=' + name + '>' }}
{{- (value if value is string else value | tojson) + '</parameter>' }}{%- endfor %}
{{- '\\n</function>\\n</seed:tool_call>' }}{%- endfor %}""",
    ),
    "glm": _TURNS.replace(
        "CALLS",
        """
{% for call in message.tool_calls %}
{{ '\\n<tool_call>' + call.function.name }}
{% for name, value in call.function.arguments.items() %}
<arg_key>{{ name }}</arg_key>
<arg_value>{{ value if value is string else value | tojson }}</arg_value>
{% endfor %}
</tool_call>{% endfor %}""",
    ),
    "minimax": _TURNS.replace(
        "CALLS",
        """
{{- '\\n<minimax:tool_call>\\n' }}
{%- for call in message.tool_calls %}{{- '<invoke name="' + call.function.name + '">\\n' }}
{%- for name, value in call.function.arguments | items %}{{- '<parameter name="' + name + '">' }}
{{- (value if value is string else value | tojson) + '</parameter>\\n' }}{%- endfor %}
{{- '</invoke>\\n' }}{%- endfor %}{{- '</minimax:tool_call>' }}""",
    ),
}
"""Those that write each argument between tags, by their families."""
