//! The `countersign` command.
fn main() -> std::process::ExitCode {
    countersign_host::cli::run()
}
