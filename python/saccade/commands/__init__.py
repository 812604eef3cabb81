"""Commands: one file a group. Each reads its arguments, calls the runtime, and shows what comes back."""
