//! Deploy hooks: told of each certificate that is live, once it is, whatever they make of it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::crash::crash;
use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, eventually};

/// A shop whose certificate is told to this shell script; `$LOG` in it is a file of the test's own.
fn shop(script: &str) -> (Shop, PathBuf) {
    let mut shop = Shop::visited_by(|ca| ca.reusing_authorizations(100));
    let log = shop.sidedoor.state().with_file_name("hook.log");
    let script = script.replace("$LOG", &log.display().to_string());
    let hook = format!("[\"sh\", \"-c\", {script:?}, \"hook\", \"an argument; $HOME\"]");
    shop.sidedoor.set("deploy_hook", &hook);
    (shop, log)
}

const TELLS: &str = "echo \"$1|$RENEWED_LINEAGE|$RENEWED_DOMAINS|$(cat)\" >> $LOG; cp \"$RENEWED_LINEAGE\"/cert.pem $LOG.cert";

#[test]
fn a_hook_is_told_what_certbot_would_tell_it_and_finds_the_new_certificate_live() {
    let (mut shop, log) = shop(TELLS);
    shop.issue().succeeded();
    let live = shop.sidedoor.live("shop");
    let told = format!(
        "an argument; $HOME|{}|{}|\n",
        live.display(),
        NAMES.join(" ")
    );
    assert_eq!(fs::read_to_string(&log).unwrap(), told);
    shop.serve_tls();
    shop.sidedoor.call(["renew", "--force"]).succeeded();
    assert_eq!(fs::read_to_string(&log).unwrap(), told.repeat(2));
    let seen = Certificate::in_file(&log.with_extension("log.cert"));
    assert_eq!(seen, shop.nginx.certificate(NAMES[0]));
    // What is still good is nothing to tell.
    shop.sidedoor.call(["renew"]).succeeded();
    assert_eq!(fs::read_to_string(&log).unwrap(), told.repeat(2));
}

#[test]
fn a_hook_that_fails_fails_no_certificate_and_stands_in_the_status() {
    let (shop, _) = shop("echo no such service; echo; exit 7");
    let outcome = shop.issue().succeeded();
    assert!(outcome.stderr.contains("exit status: 7"), "{outcome:#?}");
    let status = shop.sidedoor.call(["status"]).succeeded().stdout;
    assert!(status.contains("no such service"), "{status}");
    assert!(
        status.contains("run it by hand: RENEWED_LINEAGE="),
        "{status}"
    );
    let json = shop.sidedoor.call(["status", "--json"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let errand = &json["certificates"][0]["errands"][0];
    assert_eq!(errand["exit"], 7);
    assert_eq!(errand["output"][0], "no such service");
    assert_eq!(json["certificates"][0]["failure"], serde_json::Value::Null);
}

#[test]
fn several_hooks_run_in_their_order_and_one_that_is_not_there_keeps_no_other() {
    let (mut shop, log) = shop("");
    let tell = |word: &str| format!("[\"sh\", \"-c\", \"echo {word} >> {}\"]", log.display());
    let hooks = [tell("one"), "[\"/nonexistent/hook\"]".into(), tell("two")];
    shop.sidedoor
        .set("deploy_hook", &format!("[{}]", hooks.join(", ")));
    let outcome = shop.issue().succeeded();
    assert!(
        outcome
            .stderr
            .contains("/nonexistent/hook can't be started"),
        "{outcome:#?}"
    );
    assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\n");
}

#[test]
fn a_hook_without_end_is_ended_with_all_that_it_has_started() {
    let (mut shop, log) = shop("sleep 300 & echo $! > $LOG; wait");
    shop.sidedoor.set("deploy_hook_time", "\"1s\"");
    let begun = Instant::now();
    let outcome = shop.issue().succeeded();
    assert!(
        outcome.stderr.contains("was stopped after 1 s"),
        "{outcome:#?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(60));
    let pid = fs::read_to_string(&log).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    eventually("what it has started ends", Duration::from_secs(10), || {
        let alive = fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        (!alive).then_some(())
    });
}

#[test]
fn a_hook_that_a_crash_has_kept_from_running_is_run_by_the_next_command() {
    let (mut shop, log) = shop("echo told >> $LOG");
    shop.issue().succeeded();
    shop.serve_tls();
    for (step, told_before_the_crash) in [("flipped", 0), ("live", 0), ("handed-over", 1)] {
        fs::write(&log, "").unwrap();
        crash(&shop.sidedoor, &["renew", "--force"], step);
        let told = || fs::read_to_string(&log).unwrap().lines().count();
        assert_eq!(told(), told_before_the_crash, "{step}");
        let versions = shop.sidedoor.versions("shop").len();
        shop.sidedoor.call(["renew"]).succeeded();
        assert_eq!(told(), told_before_the_crash + 1, "{step}");
        assert_eq!(shop.sidedoor.versions("shop").len(), versions, "{step}");
        shop.sidedoor.call(["renew"]).succeeded();
        assert_eq!(told(), told_before_the_crash + 1, "{step}");
    }
}

#[test]
fn a_hook_that_a_crash_has_kept_from_running_is_run_by_the_next_sidecar() {
    let (mut shop, log) = shop("echo told >> $LOG");
    shop.issue().succeeded();
    shop.serve_tls();
    fs::write(&log, "").unwrap();
    crash(&shop.sidedoor, &["renew", "--force"], "live");
    let sidecar = shop.sidedoor.run();
    eventually("the hook is told", Duration::from_secs(20), || {
        (fs::read_to_string(&log).unwrap() == "told\n").then_some(())
    });
    assert!(sidecar.stop().success());
    assert_eq!(shop.sidedoor.versions("shop").len(), 2);
}

#[test]
fn a_hook_is_not_told_of_what_nginx_would_not_have() {
    let (mut shop, log) = shop("echo told >> $LOG");
    shop.issue().succeeded();
    shop.serve_tls();
    fs::write(&log, "").unwrap();
    shop.nginx.write_elsewhere("theirs.conf", "nonsense;\n");
    shop.sidedoor.call(["renew", "--force"]).exited(1);
    shop.sidedoor.call(["renew"]);
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}
