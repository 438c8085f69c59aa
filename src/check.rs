//! Would validation succeed now, and if not, which rule of which file is in the way? Reads nginx's configuration; changes nothing.

use serde::{Deserialize, Serialize};

use crate::config::{App, Config};
use crate::identifier::{AppName, Identifier};
use crate::nginx::obstacles::Severity;
use crate::nginx::survey::Surveyor;

/// The answer to `sidedoor check --json`. Fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Every app that was looked at.
    pub apps: Vec<AppCheck>,
}

/// What was found for one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCheck {
    /// The app.
    pub app: AppName,
    /// The names that were looked at.
    pub identifiers: Vec<Identifier>,
    /// Why nothing can be told beforehand; the probe will tell.
    pub unknown: Option<String>,
    /// What is in the way, what blocks first.
    pub obstacles: Vec<Finding>,
}

/// One rule in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether validation fails because of it; otherwise it may, for some visitors.
    pub blocks: bool,
    /// File and line.
    pub place: String,
    /// The rule as it stands.
    pub rule: String,
    /// What happens because of it.
    pub effect: String,
    /// What to do.
    pub remedy: String,
}

impl Check {
    /// Whether something blocks an app.
    pub fn is_blocked(&self) -> bool {
        self.apps
            .iter()
            .flat_map(|app| &app.obstacles)
            .any(|finding| finding.blocks)
    }
}

/// Looks at these names of these apps.
pub async fn check(config: &Config, surveyor: &Surveyor, apps: &[(App, Vec<Identifier>)]) -> Check {
    let mut checked = Vec::new();
    for (app, names) in apps {
        let survey = surveyor
            .survey(app.door.directory(), config.nginx.probe.as_deref())
            .await;
        let unknown = match (&survey.unreadable, app.door.directory()) {
            (Some(reason), _) => Some(reason.clone()),
            (None, None) => Some(
                "its door is included by hand, so there is nothing to be looked for".to_owned(),
            ),
            (None, Some(_)) => None,
        };
        let obstacles = survey.obstacles(names).into_iter().map(|obstacle| Finding {
            blocks: obstacle.severity == Severity::Blocks,
            place: obstacle.place.to_string(),
            rule: obstacle.rule,
            effect: obstacle.effect,
            remedy: obstacle.remedy,
        });
        checked.push(AppCheck {
            app: app.name.clone(),
            identifiers: names.clone(),
            unknown,
            obstacles: obstacles.collect(),
        });
    }
    Check { apps: checked }
}
