"""Methods over a course of tasks: results, storage, forgetting, and runs that are cut off."""

from pathlib import Path

import pytest
import small_course

from llmrec import components


@pytest.mark.parametrize("method", components.names("transfer"))
def test_every_method_learns_measures_and_stores_all_tasks(tmp_path: Path, method: str) -> None:
    results = small_course.lifelong(tmp_path / method, method).run()
    print(results)
