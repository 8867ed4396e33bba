//! Tracebacks as programs print them.
