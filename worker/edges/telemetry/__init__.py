"""What operators read: logs, metrics, the admin port."""
