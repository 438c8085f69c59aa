//! State that an older version has written is read for ever, with everything in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sidedoor::acme::Credentials;
use sidedoor::budget::Budget;
use sidedoor::certificate::PrivateKey;
use sidedoor::identifier::AppName;
use sidedoor::issuance::read_pair;
use sidedoor::store::Store;
use tempfile::TempDir;

/// A copy of a state directory as an older version has left it.
struct Old {
    directory: TempDir,
}

impl Old {
    fn version(version: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state");
        copy(&own.join(version), &directory.path().join("state"));
        Self { directory }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.state().join(path)).unwrap()).unwrap()
    }

    fn sidedoor(&self, arguments: &[&str]) -> String {
        let file = self.directory.path().join("sidedoor.toml");
        let text = format!(
            "state_dir = \"state\"\nadmin = \"unix:{}/admin.sock\"\n[nginx]\ntest = [\"true\"]\nreload = [\"true\"]\n\
             [[app]]\nname = \"shop\"\ndomains = [\"shop.example\", \"www.shop.example\"]\ninclude_dir = \"doors\"\n",
            self.directory.path().display()
        );
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_sidedoor"))
            .arg("--config")
            .arg(file)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, kind) = entry
            .map(|entry| (entry.path(), entry.file_type()))
            .unwrap();
        let (kind, to) = (kind.unwrap(), to.join(entry.file_name().unwrap()));
        if kind.is_symlink() {
            symlink(fs::read_link(entry).unwrap(), to).unwrap();
        } else if kind.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(entry, to).unwrap();
        }
    }
}

/// Whether all that was written is there still, whatever has come to it since.
fn holds(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => then
            .iter()
            .all(|(key, then)| now.get(key).is_some_and(|now| holds(now, then))),
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| holds(now, then))
        }
        (now, then) => now == then,
    }
}

#[test]
fn nothing_that_version_1_has_written_is_lost() {
    let old = Old::version("v1");
    let store = Store::open(&old.state())
        .unwrap()
        .shared_with(None)
        .unwrap();
    let shop: AppName = "shop".parse().unwrap();

    let then = old.json("lineages/shop.json");
    let now = serde_json::to_value(store.lineage(&shop).unwrap()).unwrap();
    assert!(holds(&now, &then), "{now:#}\nfor\n{then:#}");
    assert_eq!(store.lineages().unwrap(), std::slice::from_ref(&shop));

    let then = old.json("doors/shop.json");
    let now = serde_json::to_value(store.lease(&shop).unwrap().unwrap()).unwrap();
    assert!(holds(&now, &then), "{now:#}\nfor\n{then:#}");

    let directory = "https://127.0.0.1:23669/dir";
    let then = old.json("accounts/127.0.0.1_23669_dir/account.json");
    let account = store.account::<Credentials>(directory).unwrap().unwrap();
    let now = serde_json::to_value(account).unwrap();
    assert!(holds(&now, &then));

    let then = old.json("budgets/127.0.0.1_23669_dir.json");
    let budget: Budget = serde_json::from_value(then.clone()).unwrap();
    assert!(holds(&serde_json::to_value(budget).unwrap(), &then));

    assert_eq!(store.versions(&shop).unwrap(), [0, 1, 2]);
    assert_eq!(store.live_version(&shop).unwrap(), Some(2));
    for version in 0..=2 {
        let pair = read_pair(&store, &shop, version).unwrap();
        let pair = pair.unwrap_or_else(|| panic!("number {version}"));
        assert_eq!(pair.chain.is_placeholder(), version == 0);
    }
    let key = store.next_key(&shop).unwrap().unwrap();
    PrivateKey::from_pem(&key).unwrap();
}

#[test]
fn the_commands_of_today_understand_version_1() {
    let old = Old::version("v1");
    let status: Value = serde_json::from_str(&old.sidedoor(&["status", "--json"])).unwrap();
    let shop = &status["certificates"][0];
    assert_eq!(shop["unreadable"], Value::Null, "{status:#}");
    assert_eq!(shop["live"]["version"], 2);
    assert_eq!(shop["failure"]["attempts"], 1);
    assert_eq!(shop["errands"][2]["output"][0], "no such service");
    assert_eq!(shop["door"]["process"], 8889);
}

#[test]
fn state_that_others_could_read_is_closed_to_them() {
    let old = Old::version("v1");
    let archive = old.state().join("archive");
    let key = archive.join("shop/0002/privkey.pem");
    for (path, mode) in [(&archive, 0o755), (&key, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    Store::open(&old.state())
        .unwrap()
        .shared_with(None)
        .unwrap();
    for (path, mode) in [(&archive, 0o700), (&key, 0o600)] {
        let is = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(is, mode, "{}", path.display());
    }
}
