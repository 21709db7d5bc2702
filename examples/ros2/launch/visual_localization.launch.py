"""ros2 launch edge_reloc_ros2 visual_localization.launch.py map_dir:=/maps/office image:=..."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("edge_reloc_ros2"))


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "map_dir": "",
        "image": "/camera/image_raw",
        "camera_info": "/camera/camera_info",
        "params": str(SHARE / "config" / "visual_localization.yaml"),
    }
    node = Node(
        package="edge_reloc_ros2",
        executable="visual_localization",
        name="visual_localization",
        parameters=[LaunchConfiguration("params"), {"map_dir": LaunchConfiguration("map_dir")}],
        remappings=[
            ("visual_localization/image_0", LaunchConfiguration("image")),
            ("visual_localization/camera_info_0", LaunchConfiguration("camera_info")),
        ],
        output="screen",
    )
    declared = (DeclareLaunchArgument(key, default_value=arguments[key]) for key in arguments)
    return LaunchDescription([*declared, node])
