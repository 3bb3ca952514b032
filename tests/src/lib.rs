//! Suites that run the built binary: kill and restart, second clients, golden rows, the README
