"""Archives as learning management systems hand them out, by nbgrader's zip_collect and the guide's patterns."""

import re
import shutil
import zipfile

import pytest

from normcore.grading.course import Course
from tests.commands import ROOT, run

GUIDE = (ROOT / "book/instructors.md").read_text("utf-8")
PATTERNS = dict(zip(("moodle", "canvas"), re.findall(r"named_regexp='(.+)'", GUIDE), strict=True))
MOODLE, CANVAS = "x_999_assignsubmission_file_", "x_4799_990099_"
# file → whose it is; nobody's is not collected
FILES = {
    "moodle": {
        "Anna Müller_123456_assignsubmission_file_/ps02.ipynb": "123456",
        "Bo O'Neil_123457_assignsubmission_file_/my homework (2).ipynb": "123457",
        "Carl_Xu_123458_assignsubmission_file/ps02.ipynb": "123458",
        "Dora Late_123459_assignsubmission_onlinetext_/onlinetext.html": None,
        # one's own upload, made to look like somebody else's
        f"Eve_123460_assignsubmission_file_/{MOODLE}/ps02.ipynb": None,
        f"Eve_123460_assignsubmission_file_/extracted/all/{MOODLE}/ps02.ipynb": None,
        f"Eve_123460_assignsubmission_file_/downloaded/ps02/extracted/all/{MOODLE}/ps02.ipynb": None,
        f"Eve_123460_assignsubmission_file_/{MOODLE}ps02.ipynb": "123460",
        f"{MOODLE}_123461_assignsubmission_file_/ps02.ipynb": "123461",
        "Zoe_999_assignsubmission_file_/ps02.ipynb": "999",
    },
    "canvas": {
        "mulleranna_4711_990001_ps02.ipynb": "4711",
        "oneilbo_LATE_4712_990002_ps02-1.ipynb": "4712",
        "xucarl_4713_990003_my_homework.ipynb": "4713",
        f"eve_4714_990004_{CANVAS}ps02.ipynb": "4714",
        f"upload/{CANVAS}ps02.ipynb": None,
        f"upload/extracted/all/{CANVAS}ps02.ipynb": None,
        "zoe_4799_990005_ps02.ipynb": "4799",
        "readme.txt": None,
    },
}


@pytest.mark.parametrize("system", FILES)
def test_an_archive_becomes_submissions_and_nobody_hands_in_for_another(tmp_path, system):
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    archive = tmp_path / "grading/downloaded/ps02/archive"
    archive.mkdir(parents=True)
    with zipfile.ZipFile(archive / "all.zip", "w") as file:
        for name in FILES[system]:
            file.writestr(name, name)
    pattern = f"--FileNameCollectorPlugin.named_regexp={PATTERNS[system]}"
    run("nbgrader", "zip_collect", "ps02", pattern, cwd=tmp_path)
    expected = {student: name for name, student in FILES[system].items() if student}
    found = Course(tmp_path).submissions("ps02")
    assert set(found) == set(expected)
    for student, folder in found.items():
        (path,) = folder.glob("*.ipynb")
        assert path.read_text("utf-8") == expected[student]
