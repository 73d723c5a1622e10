"""What answers may look like, for models that there are not."""

from __future__ import annotations

from llamawire_server.chat.channels import STYLES
from llamawire_server.chat.plan import Planner
from llamawire_server.chat.tools.generic import Generic
from llamawire_server.engine.constraint import Constraint
from llamawire_server.worker.child.answer_plans import AnswerPlans, GrammarCompiler
from llamawire_server.worker.child.prompts import Vocabulary


class NoGrammars:
    """Compiles nothing: nobody is to ask."""

    def compile(self, lark: str) -> Constraint:
        raise AssertionError(lark)


def plans_of(
    vocabulary: Vocabulary, *, style: str = "none", grammars: GrammarCompiler | None = None
) -> AnswerPlans:
    """Plans for a model whose template knows no tools, and that has no control tokens."""
    planner = Planner(STYLES[style], Generic(), lambda text: None)
    return AnswerPlans(planner, grammars or NoGrammars(), vocabulary)
