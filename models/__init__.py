"""Networks written once over a bit policy, their data, their training, their export."""
