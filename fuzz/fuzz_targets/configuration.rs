//! A configuration is read or refused with lines that are in the file, and what is shown of it reads as the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sidedoor::config::{Config, ConfigError};

fuzz_target!(|text: &str| {
    let file = Path::new("/etc/sidedoor/sidedoor.toml");
    match Config::parse(file, text) {
        Ok(config) => assert_eq!(Config::parse(file, &config.to_string()).ok(), Some(config)),
        Err(ConfigError::Mistakes(mistakes)) => {
            let lines = text.lines().count().max(1) + 1;
            assert!(mistakes.iter().all(|mistake| (1..=lines).contains(&mistake.line)));
        }
        Err(other) => panic!("{other}"),
    }
});
