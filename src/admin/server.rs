//! The sidecar's end of the admin socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caller::Caller;
use super::protocol::{Message, Request};
use crate::engine::Engine;
use crate::files;
use crate::operations;
use crate::report::Report;

/// Whoever connects says at once what is wanted.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// A bound admin socket; its file is removed when this is dropped.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Tells our socket from one that another process has put in its place.
    inode: u64,
    heirs: Option<mpsc::Sender<Caller>>,
}

impl AdminSocket {
    /// Binds the socket (mode 0600). One whose process is gone is replaced; a living one is an error.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            // The socket's own mode guards it; nginx's workers may have to pass to another socket beside it.
            files::create_directory(directory, 0o755)?;
        }
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::AddrInUse,
                        "another sidecar listens there",
                    ));
                }
                Err(_) => files::discard(path)?,
            }
        }
        Self::bind_instead(path)
    }

    /// The same, in the place of a living one, which nobody finds any more then.
    pub fn bind_instead(path: &Path) -> io::Result<Self> {
        // Bound under another name first, so that nobody connects before the mode is set.
        let unfinished = files::temporary(path);
        files::discard(&unfinished)?;
        let listener = UnixListener::bind(&unfinished)?;
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(&unfinished)?.ino();
        std::fs::rename(&unfinished, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
            heirs: None,
        })
    }

    /// Passes on those who want to take over.
    #[must_use]
    pub fn announcing(mut self, heirs: mpsc::Sender<Caller>) -> Self {
        self.heirs = Some(heirs);
        self
    }

    /// Answers requests until told to stop; then those under way are let go, which closes their doors.
    pub async fn serve(self, engine: Arc<Engine>, stop: CancellationToken) {
        self.serve_until(engine, stop, CancellationToken::new())
            .await;
    }

    /// The same; once it is `enough`, requests under way are answered, but no more are taken.
    pub async fn serve_until(
        self,
        engine: Arc<Engine>,
        stop: CancellationToken,
        enough: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        let ending = stop.child_token();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
                () = enough.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (engine, ending) = (Arc::clone(&engine), ending.clone());
                    let heirs = self.heirs.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = answer(stream, engine, heirs) => {}
                            () = ending.cancelled() => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = files::discard(&self.path);
        }
    }
}

/// One connection: one request, its notes, its end. If whoever asked goes away, the work is let go.
async fn answer(stream: UnixStream, engine: Arc<Engine>, heirs: Option<mpsc::Sender<Caller>>) {
    let mut caller = Caller::new(stream);
    let request = match caller.request(REQUEST_LIMIT).await {
        None => return,
        Some(Ok(request)) => request,
        Some(Err(error)) => {
            let report = Report::new(
                format!("the sidecar doesn't understand the request: {error}"),
                "use a `sidedoor` of the same version as the sidecar's",
            );
            let _ = caller.tell(&Message::Failed(report)).await;
            return;
        }
    };
    if let (Request::TakeOver, Some(heirs)) = (&request, heirs) {
        let _stopping_already = heirs.send(caller).await;
        return;
    }
    let Some(_working) = engine.try_work() else {
        let report = Report::new(
            "the sidecar is handing over to a new one",
            "ask again in a moment",
        );
        let _ = caller.tell(&Message::Failed(report)).await;
        return;
    };
    let (notes, mut told) = mpsc::unbounded_channel();
    let work = operations::perform(
        &engine,
        request,
        Arc::new(move |note| drop(notes.send(note))),
    );
    tokio::pin!(work);
    let end = loop {
        tokio::select! {
            biased;
            Some(note) = told.recv() => {
                if caller.tell(&Message::Note(note)).await.is_err() {
                    return;
                }
            }
            end = &mut work => break end,
            () = caller.gone() => return,
        }
    };
    while let Ok(note) = told.try_recv() {
        if caller.tell(&Message::Note(note)).await.is_err() {
            return;
        }
    }
    let message = match end {
        Ok(reply) => Message::Reply(Box::new(reply)),
        Err(report) => Message::Failed(report),
    };
    let _ = caller.tell(&message).await;
}
