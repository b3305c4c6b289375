"""Archives as learning management systems hand them out, by nbgrader's zip_collect and the guide's patterns."""

import re
import shutil
import zipfile

import pytest

from normcore.grading.course import Course
from tests.commands import ROOT, run

GUIDE = (ROOT / "book/instructors.md").read_text("utf-8")
PATTERNS = dict(zip(("moodle", "canvas"), re.findall(r"named_regexp='(.+)'", GUIDE), strict=True))
FILES = {
    "moodle": {
        "Anna Müller_123456_assignsubmission_file_/ps02.ipynb": "123456",
        "Bo O'Neil_123457_assignsubmission_file_/my homework (2).ipynb": "123457",
        "Carl_Xu_123458_assignsubmission_file/ps02.ipynb": "123458",
        "Dora Late_123459_assignsubmission_onlinetext_/onlinetext.html": None,
    },
    "canvas": {
        "mulleranna_4711_990001_ps02.ipynb": "4711",
        "oneilbo_LATE_4712_990002_ps02-1.ipynb": "4712",
        "xucarl_4713_990003_my_homework.ipynb": "4713",
        "readme.txt": None,
    },
}


@pytest.mark.parametrize("system", FILES)
def test_an_archive_becomes_submissions(tmp_path, system):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    archive = tmp_path / "grading/downloaded/ps02/archive"
    archive.mkdir(parents=True)
    content = (ROOT / "exercises/ps02/ps02.ipynb").read_bytes()
    with zipfile.ZipFile(archive / "all.zip", "w") as file:
        for name in FILES[system]:
            file.writestr(name, content)
    pattern = f"--FileNameCollectorPlugin.named_regexp={PATTERNS[system]}"
    run("nbgrader", "zip_collect", "ps02", pattern, cwd=tmp_path)
    found = Course(tmp_path).submissions("ps02")
    assert set(found) == {student for student in FILES[system].values() if student}
    assert all(path.read_bytes() == content for path in found.values())
