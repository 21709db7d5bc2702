"""Packaging: three folders, three import names, one distribution."""

from setuptools import find_packages, setup


def _packages(folder: str, name: str) -> list[str]:
    return [name] + [f"{name}.{sub}" for sub in find_packages(folder)]


setup(
    packages=_packages("edge_reloc", "edge_reloc")
    + _packages("export", "edge_reloc_export")
    + _packages("calib", "edge_reloc_calib"),
    package_dir={
        "edge_reloc": "edge_reloc",
        "edge_reloc_export": "export",
        "edge_reloc_calib": "calib",
    },
)
