from setuptools import setup

NAME = "edge_reloc_ros2"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/visual_localization.launch.py"]),
        (f"share/{NAME}/config", ["config/visual_localization.yaml"]),
    ],
    zip_safe=True,
    maintainer="edge_reloc maintainers",
    maintainer_email="maintainers@example.com",
    description="Poses of a camera in a mapped place, by edge_reloc",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"visual_localization = {NAME}.visual_localization:main"]},
)
