"""Which slow tests a change asks for."""

from tests.slow_tier import reached, slow_files, slow_files_for


def test_a_changed_module_asks_for_the_tests_that_run_it_as_a_command():
    found = slow_files_for(["search/suggestion/prior_gp.py"])
    assert {"tests/search/test_tune.py", "tests/search/test_chaos.py"} <= set(found)
    assert "tests/model/training/test_losses.py" not in found


def test_a_changed_reader_asks_for_the_tests_that_import_it():
    assert "tests/data/bad_input/test_mutated_files.py" in slow_files_for(["data/readers/slices/scan.py"])


def test_a_changed_template_asks_for_the_tests_of_its_folder():
    assert "tests/search/test_tune.py" in slow_files_for(["search/report/page.html"])


def test_changed_dependencies_ask_for_all_slow_tests():
    assert slow_files_for(["pyproject.toml"]) == slow_files()
    assert len(slow_files()) > 20


def test_a_changed_text_asks_for_none():
    assert slow_files_for(["README.md", "search/README.md", ".github/workflows/ci.yml", ""]) == []


def test_every_slow_test_file_tests_something_of_the_program():
    program = ("data/", "model/", "search/", "tests/benchmarks/")
    assert [file for file in slow_files() if not any(name.startswith(program) for name in reached(file))] == []
