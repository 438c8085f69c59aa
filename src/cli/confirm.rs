//! Whether somebody really means it.

use std::io::{BufRead, IsTerminal, Write};

use crate::report::Report;

/// Asks on a terminal; elsewhere nobody can be asked, and only `--yes` says so.
pub(super) fn confirm(question: &str) -> Result<(), Report> {
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() || !output.is_terminal() {
        return Err(Report::new(
            format!("{question} nobody can be asked here"),
            "add --yes if it is meant",
        ));
    }
    let mut answer = String::new();
    let asked = write!(output, "{question} [y/N] ").and_then(|()| output.flush());
    let read = asked.and_then(|()| input.lock().read_line(&mut answer));
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Report::new("nothing was done", "answer y if it is meant")),
    }
}
