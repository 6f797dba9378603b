"""What a searcher is: `Searcher`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from flow.objective import Worth
from models.policy import BitPolicy


@runtime_checkable
class Searcher(Protocol):
    """Proposes policies and is told their rewards, one after the other.

    A searcher with the same seed that was told the same rewards proposes the same policies; that is
    how an interrupted search goes on. Every proposed policy can meet the constraint. A class of one's own
    takes the `flow.decision.Decisions` and a seed; `SEARCHER=package.module:Class` names it.
    """

    def ask(self) -> BitPolicy:
        """The next policy to evaluate."""
        ...

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """Learn from the reward of a policy, proposed by this searcher or not; NaN for one that could not be evaluated."""
        ...


@runtime_checkable
class Shortlisting(Protocol):
    """A searcher that has an opinion on which of the policies it was told of are truly the best."""

    def shortlist(self, n: int) -> list[BitPolicy]:
        """At most `n` of the policies told, the best first, noise in their rewards allowed for."""
        ...


@runtime_checkable
class Informed(Protocol):
    """A searcher that learns of policies, too, which this search may not choose, as they cannot meet its constraint."""

    def inform(self, policy: BitPolicy, accuracy: float) -> None:
        """Learn from the accuracy of such a policy in an earlier run, 0..1, before the first `ask`, after `aim`."""
        ...


@runtime_checkable
class Aiming(Protocol):
    """A searcher that learns of accuracies where something else is sought, and works out by itself what they are worth."""

    def aim(self, worth: Worth) -> None:
        """Say what is sought, before the first `ask`; from then on `tell` is given accuracies instead of rewards."""
        ...
