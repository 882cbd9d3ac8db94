"""When an asset follows its inputs by itself. What does not belong here: what starts by the clock (`schedules`)."""

from __future__ import annotations

from typing import Any

import dagster as dg


def follows_its_inputs() -> dg.AutomationCondition[Any]:
    """Ask for an asset when an input has been materialized outside of a run that does the asset too, and nothing
    upstream is still under way.

    Not `eager()`: that one also wants no input missing, and a partition history with holes always has some.
    A slice with refused or failed requests, or too many rejected rows, is never materialized, so nothing follows it.
    """
    condition = dg.AutomationCondition
    is_new = condition.newly_updated() & ~condition.executed_with_root_target()
    is_busy = condition.in_progress() | condition.any_deps_in_progress()
    return (
        condition.any_deps_match(is_new).since_last_handled().with_label("an input is newer")
        & ~condition.in_progress()
        & ~condition.any_deps_match(is_busy).with_label("something upstream is under way")
    ).with_label("follows its inputs")
