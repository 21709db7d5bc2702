"""ROS 2: messages, times and transforms, without needing ROS to import or to test them."""
