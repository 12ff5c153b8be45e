//! A toy source: a server that is a shelf in this process, and counts what is asked of it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, LazyLock, Mutex};

use images::disk::{Counting, Memory};
use images::{Address, Budget, Disk, Error, Result, Source};

/// Files in folders.
pub const SHELF: Source = Source { folders: true, ..Source::new(&["shelf"], open) };
/// The same without folders.
pub const LONE: Source = Source::new(&["lone"], open);

static FILES: LazyLock<Mutex<HashMap<String, Arc<Counting>>>> = LazyLock::new(Mutex::default);

/// Puts a file there.
pub fn put(address: &str, bytes: Vec<u8>) {
    let disk = Arc::new(Counting::new(Arc::new(Memory::new(address, bytes))));
    FILES.lock().unwrap().insert(address.to_owned(), disk);
}

/// How often the file was read since the last call.
pub fn reads(address: &str) -> u64 {
    FILES.lock().unwrap()[address].take().0
}

fn open(address: &Address, _: &Budget) -> Result<Arc<dyn Disk>> {
    match FILES.lock().unwrap().get(&address.text()) {
        Some(file) => Ok(file.clone()),
        None => Err(Error::Io { what: format!("cannot open {address}"), source: ErrorKind::NotFound.into() }),
    }
}
