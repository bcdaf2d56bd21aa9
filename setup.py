"""Builds the package with the project's configuration inside, so that an installed wheel has its defaults.

All else stands in ``pyproject.toml``. An editable install reads ``conf/`` where it is.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONF = ["conf/logging.yml", "conf/local/.gitkeep", *map(str, sorted(Path("conf/base").glob("*.yml")))]


class BuildWithConf(build_py):
    """Copies ``conf/`` into the built package."""

    def run(self) -> None:
        """Build, and copy unless the package is used from its source."""
        super().run()
        if not self.editable_mode:
            for file in CONF:
                target = Path(self.build_lib, "scvi_downstream", file)
                self.mkpath(str(target.parent))
                self.copy_file(file, str(target))

    def get_source_files(self) -> list[str]:
        """What an sdist holds."""
        return [*super().get_source_files(), *CONF]


setup(cmdclass={"build_py": BuildWithConf})
