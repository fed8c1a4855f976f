"""Move the champion: promote, roll back, canary; one at a time, in an order that a crash leaves
consistent.

Every move is first entered in the ledger as open, then made (`previous`, `champion`, the canary's
end), then closed. Whoever comes next finds the open entry of a crashed promoter and settles it:
closed as done where the champion did move, else as failed, with `previous` put back. What replicas
follow, the alias, changes in one step, so they never see half a move.
"""

from __future__ import annotations

import time
from dataclasses import replace

from train.registry.canary import Canary, CanarySteps
from train.registry.moves import Move, Promotable, PromotableVersion, move_to
from train.registry.settle import settle_moves
from vigil.errors import RegistryError
from vigil.json_types import Fields, JsonObject


class GateFailed(RegistryError):
    """The version failed its gate, and nobody has said that it is to be promoted all the same."""


def promote_version(
    registry: Promotable,
    version: str,
    *,
    reason: str,
    actor: str,
    gates: Fields | None = None,
    new_schema: bool = False,
    force: bool = False,
) -> str:
    """Make `version` the champion and the former one `previous`; ends a canary. Returns the
    version.

    Raises GateFailed for a version that failed its gate, unless `force`, and RegistryError when
    there is no such version, when somebody else is promoting, or when its features are not the
    champion's and `new_schema` does not say that callers know.
    """
    target = registry.get(version)
    with registry.exclusive(actor):
        settle_moves(registry)
        former = registry.aliases().get("champion", "")
        _check_gate(target, force=force or target.version == former)
        if former and not new_schema:
            _check_schema(target, registry.get(former), "its callers would fail")
        move = move_to(
            target,
            "promote",
            former,
            reason=reason,
            actor=actor,
        )
        evidence = {**(gates or {}), **_forced(target)}
        return _carry_out(registry, replace(move, gates=evidence))


def roll_back(
    registry: Promotable,
    *,
    reason: str,
    actor: str,
    to: str | None = None,
) -> str:
    """Make `to`, or the version before the champion, champion again; ends a canary. Returns the
    version."""
    with registry.exclusive(actor):
        settle_moves(registry)
        target = registry.get(to or _previous(registry))
        former = registry.aliases().get("champion", "")
        move = move_to(
            target,
            "rollback",
            former,
            reason=reason,
            actor=actor,
        )
        return _carry_out(registry, move)


def start_canary(
    registry: Promotable,
    version: str,
    steps: CanarySteps,
    *,
    reason: str,
    actor: str,
    force: bool = False,
) -> Canary:
    """Have `version` answer a share of the requests by `steps`; the monitor promotes it at their
    end, or stops it.

    Raises GateFailed for a version that failed its gate, unless `force`, and RegistryError when
    it is the champion, when there is none, or when another canary runs.
    """
    target = registry.get(version)
    _check_gate(target, force=force)
    with registry.exclusive(actor):
        settle_moves(registry)
        champion = _champion_to_follow(registry, target)
        canary = Canary(
            target.version,
            champion,
            time.time(),
            steps=steps,
            reason=reason,
        )
        move = move_to(
            target,
            "canary",
            champion,
            reason=reason,
            actor=actor,
        )
        _switch_canary(registry, move, canary)
    return canary


def stop_canary(
    registry: Promotable,
    canary: Canary,
    *,
    reason: str,
    actor: str,
) -> None:
    """Send everybody back to the champion; does nothing when this canary has ended already."""
    with registry.exclusive(actor):
        settle_moves(registry)
        if registry.canary() == canary:
            _stop(registry, canary, reason, actor)


def same_schema(version: PromotableVersion, other: PromotableVersion) -> bool:
    """Return whether rows for one fit the other; a version that does not say is believed to."""
    return not (version.schema and other.schema) or version.schema == other.schema


def _carry_out(registry: Promotable, move: Move) -> str:
    """Move the champion; returns the version."""
    if move.former == move.to:
        _stop_running(registry, move)
        return move.to
    entry = registry.open_move(move)
    registry.set_schema(registry.get(move.to).schema)
    if move.former:
        registry.set_alias("previous", move.former)
    registry.set_alias("champion", move.to)
    registry.set_canary(None)
    registry.close_move(entry, done=True)
    return move.to


def _stop_running(registry: Promotable, move: Move) -> None:
    """Stop the canary that runs, where one does."""
    canary = registry.canary()
    if canary is not None:
        _stop(registry, canary, move.reason, move.actor)


def _stop(
    registry: Promotable,
    canary: Canary,
    reason: str,
    actor: str,
) -> None:
    move = move_to(
        registry.get(canary.champion),
        "canary stopped",
        canary.version,
        reason=reason,
        actor=actor,
    )
    _switch_canary(registry, move, None)


def _switch_canary(
    registry: Promotable,
    move: Move,
    canary: Canary | None,
) -> None:
    entry = registry.open_move(move)
    registry.set_canary(canary)
    registry.close_move(entry, done=True)


def _previous(registry: Promotable) -> str:
    """The version before the champion. Raises RegistryError."""
    version = registry.aliases().get("previous")
    if version is None:
        raise RegistryError(
            "there is no former champion to go back to; `vigil promote V` names one"
        )
    return version


def _champion_to_follow(registry: Promotable, target: PromotableVersion) -> str:
    """The champion that a canary of `target` can be tried against. Raises RegistryError."""
    champion = registry.aliases().get("champion")
    if champion is None:
        raise RegistryError("there is no champion to try it against")
    if champion == target.version:
        raise RegistryError(f"version {target.version} is the champion")
    _check_none_runs(registry, champion)
    _check_schema(target, registry.get(champion), "it cannot be a canary")
    return champion


def _check_none_runs(registry: Promotable, champion: str) -> None:
    running = registry.canary()
    if running is not None:
        raise RegistryError(
            f"version {running.version} is a canary already: promote it, "
            f"or promote {champion} to end it"
        )


def _check_schema(
    target: PromotableVersion,
    champion: PromotableVersion,
    consequence: str,
) -> None:
    if not same_schema(target, champion):
        raise RegistryError(
            f"version {target.version} has other features than the champion "
            f"{champion.version}: {consequence}"
        )


def _check_gate(version: PromotableVersion, *, force: bool) -> None:
    """`challenger` names the version that was registered last, whatever its gate said: nothing is
    promoted by that alias."""
    if version.verdict == "failed" and not force:
        raise GateFailed(
            f"version {version.version} failed its gate; its run in MLflow says why (gate.json). "
            f"`vigil promote {version.version} --force` promotes it all the same"
        )


def _forced(version: PromotableVersion) -> JsonObject:
    """What the ledger keeps of a promotion that the gate spoke against."""
    return {"passed": False, "forced": True} if version.verdict == "failed" else {}
