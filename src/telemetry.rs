//! Logs on standard output, one line each: JSON for machines, text for people. Objects are never dumped: they may hold
//! what is not for logs.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what ends the process or loses something.
    Error,
    /// And what needs a person.
    Warn,
    /// And what happened.
    Info,
    /// And each write.
    Debug,
}

/// Sets up logging for the process.
pub fn init(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Libraries below us log requests with their content at debug and errors that we report ourselves at warn.
    let targets = Targets::new().with_default(LevelFilter::ERROR).with_target("goproxy_operator", level);
    let lines = tracing_subscriber::fmt::layer();
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
}
