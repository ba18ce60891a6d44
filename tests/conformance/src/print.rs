//! Prints for people, who may stop reading at any time: `plexus-conformance list | head` is no failure.
//!
//! `println!` panics when its reader has gone; the macros `out!`, `outln!` and `errln!` do not.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Exit code of a command whose reader has gone: that of a process which SIGPIPE has ended.
const READER_GONE: i32 = 141;

/// Prints a text on standard output. If nobody reads any more, the process ends.
pub(crate) fn out(text: fmt::Arguments<'_>) {
    if let Err(error) = io::stdout().lock().write_fmt(text) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(READER_GONE);
        }
        err(format_args!("cannot print: {error}\n"));
        std::process::exit(1);
    }
}

/// Prints a text on standard error, if anybody reads that.
pub(crate) fn err(text: fmt::Arguments<'_>) {
    io::stderr().lock().write_fmt(text).ok();
}

/// Prints a text on standard output, as `print!` does.
macro_rules! out {
    ($($text:tt)*) => { $crate::print::out(format_args!($($text)*)) };
}

/// Prints a line on standard output, as `println!` does.
macro_rules! outln {
    () => { $crate::print::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::print::out(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line on standard error, as `eprintln!` does.
macro_rules! errln {
    ($($text:tt)*) => { $crate::print::err(format_args!("{}\n", format_args!($($text)*))) };
}
