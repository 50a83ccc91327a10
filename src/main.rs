//! The program: hands its arguments and the parts of `app` to [`keepwell::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    keepwell::cli::main(std::env::args_os(), &keepwell::cli::HOOKS)
}
