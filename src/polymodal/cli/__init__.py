"""One file a command; nothing heavy is imported until a command needs it."""
