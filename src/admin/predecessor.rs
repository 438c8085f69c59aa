//! The new sidecar's end of the admin socket while it takes an old one's place.

use std::time::Duration;

use super::client::{Client, ClientError, Conversation};
use super::protocol::{Bequest, Reply, Request};
use crate::report::Report;

/// The old one lets go of its doors at once; nginx may still have to be told of something.
const LETTING_GO: Duration = Duration::from_secs(30);

/// An old sidecar that has come to rest and waits to be replaced. It goes on if this is dropped.
#[derive(Debug)]
pub struct Predecessor {
    conversation: Conversation,
}

impl Predecessor {
    /// Asks a running sidecar for its place.
    pub async fn ask(client: Client) -> Result<Result<(Self, Bequest), Report>, ClientError> {
        let mut conversation = client.begin();
        conversation.say(&Request::TakeOver).await?;
        match conversation.end(|_| {}).await? {
            Ok(Reply::Bequest(bequest)) => Ok(Ok((Self { conversation }, bequest))),
            Ok(_) => Err(ClientError::BrokenOff(
                "it answered something else".to_owned(),
            )),
            Err(report) => Ok(Err(report)),
        }
    }

    /// We serve. Resolves when the old one has let go of everything but its requests under way, however that comes.
    pub async fn replace(mut self) {
        let replaced = async {
            self.conversation.say(&Request::Taken).await?;
            self.conversation.end(|_| {}).await
        };
        match tokio::time::timeout(LETTING_GO, replaced).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the old sidecar has ended without a word");
            }
            Err(_) => tracing::warn!(
                "the old sidecar holds on to something; its locks keep us from what it works on"
            ),
        }
    }
}
