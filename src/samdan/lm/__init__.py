"""Models and tokenizers: loading, chat templates and loss masks, attention, scoring."""
