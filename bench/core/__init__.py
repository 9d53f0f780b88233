"""What everything else stands on: errors, progress, the machine."""
