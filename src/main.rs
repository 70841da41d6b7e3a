fn main() -> std::process::ExitCode {
    strongroom::cli::main()
}
