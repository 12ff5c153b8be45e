//! What can go wrong, split by who has to act.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

/// The result of everything that touches an image.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed. Every variant prints as one line.
///
/// The first group says who must act: the host, the owner of the image, or the authors of this program. The second
/// group are the answers that any POSIX file system gives, and carry no text of their own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host failed: a file could not be opened or read.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, for example `cannot open disk.qcow2`.
        what: String,
        /// The host's answer.
        source: io::Error,
    },
    /// The image contradicts its specification. Made by [`corrupt!`](crate::corrupt).
    #[error("{what} at byte {offset:#x}: {why}")]
    Corrupt {
        /// The structure, in its specification's term, for example `L2 table`.
        what: String,
        /// Where it lies, in bytes from the start of the disk that is being parsed.
        offset: u64,
        /// What was found and what was wanted.
        why: String,
    },
    /// The image is sound, but uses something that this program does not read. Names the feature.
    #[error("{0}")]
    Unsupported(String),
    /// Writing was asked for, and this is why it is not possible.
    #[error("{0}")]
    ReadOnly(String),
    /// Nothing recognised these contents.
    #[error("{0}")]
    Unknown(String),
    /// More than one reading of the contents or of the request is possible. Names them.
    #[error("{0}")]
    Ambiguous(String),
    /// A rule of this program forbids it, for example a backing file that the image's owner could not read. Says
    /// which option allows it.
    #[error("{0}")]
    Denied(String),
    /// The limit of memory that the user may set does not hold what the image asks for. Says what would take how much.
    #[error("{0}")]
    Memory(String),
    /// The request itself is wrong: an unknown format name, a device that is not there.
    #[error("{0}")]
    Usage(String),
    /// Another error, and the image or layer in which it arose. Made by [`ResultExt::within`].
    #[error("{place}: {source}")]
    Within {
        /// The layer, for example `p1 of vm.qcow2`.
        place: String,
        /// What went wrong there.
        source: Box<Error>,
    },

    /// An error that was kept because the same question will be asked again.
    #[error("{0}")]
    Shared(Arc<Error>),

    /// No such name, node or attribute.
    #[error("no such file or directory")]
    NotFound,
    /// A directory was wanted.
    #[error("not a directory")]
    NotDirectory,
    /// A file was wanted, and this is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The operation does not apply to this kind of node, for example `read_link` of a file.
    #[error("invalid argument")]
    Invalid,
    /// The name is longer than the file system allows.
    #[error("file name too long")]
    NameTooLong,
    /// The name or the attribute is there already.
    #[error("file exists")]
    Exists,
    /// The directory is not empty.
    #[error("directory not empty")]
    NotEmpty,
    /// No space is left: in the file system of the guest, or on the host, which the text in front says.
    #[error("no space left on device")]
    NoSpace,
    /// The node has as many names as it can have.
    #[error("too many links")]
    TooManyLinks,
    /// The file system has no such offset.
    #[error("file too large")]
    TooLarge,
    /// The node's own flags forbid it: it is immutable, or can only be appended to.
    #[error("operation not permitted")]
    NotPermitted,
    /// Something is mounted there.
    #[error("device or resource busy")]
    Busy,
    /// The two names lie in different file systems.
    #[error("invalid cross-device link")]
    CrossDevice,
}

impl Error {
    /// An [`Error::Io`]: `what` was tried and `source` came back.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// The error itself, without the places that [`ResultExt::within`] put around it.
    pub fn root(&self) -> &Self {
        match self {
            Self::Within { source, .. } => source.root(),
            Self::Shared(error) => error.root(),
            other => other,
        }
    }
}

/// Adds the place to an error on its way up.
pub trait ResultExt<T> {
    /// Says in which image or layer the error arose; evaluated for errors only.
    fn within(self, place: impl Display) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn within(self, place: impl Display) -> Result<T> {
        self.map_err(|source| Error::Within { place: place.to_string(), source: Box::new(source) })
    }
}

/// An [`Error::Corrupt`]: the structure, its offset in bytes, and a sentence with what was found and what was wanted.
///
/// ```
/// # let (at, magic) = (0x2000u64, 7);
/// let error = images::corrupt!("extent header", at, "magic {magic:#x}, want 0xf30a");
/// assert_eq!(error.to_string(), "extent header at byte 0x2000: magic 0x7, want 0xf30a");
/// ```
#[macro_export]
macro_rules! corrupt {
    ($what:expr, $offset:expr, $($why:tt)+) => {
        $crate::Error::Corrupt { what: $what.into(), offset: u64::from($offset), why: format!($($why)+) }
    };
}

/// An [`Error::Unsupported`] from a format string.
#[macro_export]
macro_rules! unsupported {
    ($($why:tt)+) => { $crate::Error::Unsupported(format!($($why)+)) };
}

/// An [`Error::ReadOnly`] from a format string.
#[macro_export]
macro_rules! read_only {
    ($($why:tt)+) => { $crate::Error::ReadOnly(format!($($why)+)) };
}
