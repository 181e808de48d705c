//! argv → role → exit code.

fn main() -> std::process::ExitCode {
    noctus::ops::main()
}
