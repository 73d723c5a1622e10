"""Tools: how each family of models is told of them and calls them, and its calls told from text."""

from llamawire_server.chat.tools.history import check_history as check_history
from llamawire_server.chat.tools.tool_format import CallDelta as CallDelta
from llamawire_server.chat.tools.tool_format import CallParser as CallParser
from llamawire_server.chat.tools.tool_format import Choice as Choice
from llamawire_server.chat.tools.tool_format import Named as Named
from llamawire_server.chat.tools.tool_format import ParametersError as ParametersError
from llamawire_server.chat.tools.tool_format import Tool as Tool
from llamawire_server.chat.tools.tool_format import ToolFormat as ToolFormat
