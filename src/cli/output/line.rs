//! The one line on a terminal that tells how far the work is, and is overwritten by the next.

use crate::progress::{Among, Step};

/// A line that wraps can't be overwritten, and no terminal is narrower.
const WIDTH: usize = 79;

/// What it says.
pub(super) fn line(step: Step, among: Option<&Among>) -> String {
    let Some(among) = among else {
        return format!("{step} …");
    };
    let Among {
        certificate,
        all,
        done,
        failed,
        waiting,
    } = among;
    let mut line = format!("{done} of {all} done");
    for (count, what) in [(failed, "failed"), (waiting, "waiting")] {
        if *count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    let left = WIDTH.saturating_sub(line.len() + format!("; : {step} …").chars().count());
    let name = certificate.as_str();
    // A name is plain ASCII.
    let name = match name.len() > left {
        true => format!("{}…", &name[..left.saturating_sub(1).min(name.len())]),
        false => name.to_owned(),
    };
    format!("{line}; {name}: {step} …")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(certificate: &str, failed: usize, waiting: usize) -> Among {
        Among {
            certificate: certificate.parse().unwrap(),
            all: 50,
            done: 12,
            failed,
            waiting,
        }
    }

    #[test]
    fn one_certificate_needs_no_name_and_several_are_counted() {
        assert_eq!(line(Step::OrderReady, None), "order-ready …");
        for (failed, waiting, said) in [
            (0, 0, "12 of 50 done; host7: order-ready …"),
            (3, 0, "12 of 50 done, 3 failed; host7: order-ready …"),
            (
                3,
                1,
                "12 of 50 done, 3 failed, 1 waiting; host7: order-ready …",
            ),
        ] {
            let among = among("host7", failed, waiting);
            assert_eq!(line(Step::OrderReady, Some(&among)), said);
        }
    }

    #[test]
    fn a_long_name_is_cut_so_that_the_line_can_be_overwritten() {
        let name = format!("{}.example", "long-".repeat(10));
        let said = line(Step::OrderReady, Some(&among(&name, 3, 1)));
        assert_eq!(said.chars().count(), WIDTH);
        assert!(said.starts_with("12 of 50 done, 3 failed, 1 waiting; long-"));
        assert!(said.ends_with("…: order-ready …"), "{said}");
    }
}
