//! `lessee-ipam`: says that the plugin is not there yet.

use std::process::ExitCode;

use lessee_ipam_plugin::NOT_AVAILABLE;

fn main() -> ExitCode {
    let (message, status) = NOT_AVAILABLE;
    eprintln!("{message}");
    ExitCode::from(status)
}
