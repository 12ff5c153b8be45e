//! Images that name another file, each written byte by byte as its specification has it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The identifier of the VHD that every target is.
const UUID: &[u8; 16] = b"the target's own";
/// The size of the VHD's disk in bytes.
const SIZE: u64 = 2 << 20;

/// A way to name a file: the ending of the image's name, and its bytes.
pub struct Naming {
    pub ending: &'static str,
    pub image: fn(&str) -> Vec<u8>,
    /// Whether the format can say `/absolute/names`.
    pub absolute: bool,
}

/// The formats that name files, and the ways in which they do.
pub const NAMINGS: &[Naming] = &[
    Naming { ending: "qcow2", image: |name| qcow2(name, "raw"), absolute: true },
    Naming { ending: "vmdk", image: vmdk, absolute: true },
    Naming { ending: "ovf", image: ovf, absolute: true },
    Naming { ending: "hdd", image: parallels, absolute: true },
    Naming { ending: "vhd", image: vhd_child, absolute: false },
    Naming { ending: "qcow2.gz", image: |name| gzip(&qcow2(name, "raw")), absolute: true },
    Naming { ending: "qcow2", image: |name| qcow2(&json(name), "raw"), absolute: true },
    Naming { ending: "qcow2", image: |name| qcow2(&format!("file:{name}"), "raw"), absolute: true },
];

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn json(name: &str) -> String {
    format!("json:{{\"driver\":\"raw\",\"file\":{{\"driver\":\"file\",\"filename\":\"{name}\"}}}}")
}

/// An empty qcow2 image of version 3 over the file `name` of this format.
pub fn qcow2(name: &str, format: &str) -> Vec<u8> {
    let mut image = vec![0; 4096];
    let be32 = |value: u32| value.to_be_bytes();
    put(&mut image, 0, b"QFI\xfb");
    put(&mut image, 4, &be32(3));
    put(&mut image, 20, &be32(9)); // cluster_bits
    put(&mut image, 24, &4096u64.to_be_bytes()); // size
    put(&mut image, 36, &be32(1)); // l1_size
    put(&mut image, 40, &2048u64.to_be_bytes()); // l1_table_offset
    put(&mut image, 48, &2560u64.to_be_bytes()); // refcount_table_offset
    put(&mut image, 56, &be32(1)); // refcount_table_clusters
    put(&mut image, 96, &be32(4)); // refcount_order
    put(&mut image, 100, &be32(104)); // header_length
    put(&mut image, 104, &be32(0xe279_2aca));
    put(&mut image, 108, &be32(format.len() as u32));
    put(&mut image, 112, format.as_bytes());
    // The end of the extensions is eight zeros.
    let at = 112 + format.len().next_multiple_of(8) + 8;
    put(&mut image, 8, &(at as u64).to_be_bytes());
    put(&mut image, 16, &be32(name.len() as u32));
    assert!(at + name.len() <= 512, "{name}");
    put(&mut image, at, name.as_bytes());
    image
}

/// A descriptor with one flat extent.
fn vmdk(name: &str) -> Vec<u8> {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \
         \"{name}\" 0\nddb.adapterType = \"ide\"\n"
    )
    .into_bytes()
}

/// An appliance of one disk, of which the descriptor does not say the format.
fn ovf(name: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\"?><Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"><References><File ovf:id=\"f\" ovf:href=\"{name}\"/>\
         </References><DiskSection><Info/><Disk ovf:diskId=\"d\" ovf:fileRef=\"f\" ovf:capacity=\"4096\"/>\
         </DiskSection></Envelope>"
    )
    .into_bytes()
}

/// A folder's descriptor with one plain image.
fn parallels(name: &str) -> Vec<u8> {
    let guid = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version=\"1.0\"><Disk_Parameters><Padding>0\
         </Padding></Disk_Parameters><StorageData><Storage><Start>0</Start><End>4</End><Blocksize>2048</Blocksize><Image>\
         <GUID>{guid}</GUID><Type>Plain</Type><File>{name}</File></Image></Storage></StorageData><Snapshots><Shot><GUID>\
         {guid}</GUID><ParentGUID>{{00000000-0000-0000-0000-000000000000}}</ParentGUID></Shot></Snapshots>\
         </Parallels_disk_image>\n"
    )
    .into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What every named file is: a VHD without data, which can as well be read as raw.
pub fn target() -> Vec<u8> {
    vhd(3, UUID, |_| {}, &[])
}

/// A differencing VHD whose parent has this name, relative to it.
fn vhd_child(name: &str) -> Vec<u8> {
    let name: Vec<u8> = name.replace('/', "\\").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let locate = |header: &mut [u8]| {
        put(header, 40, UUID);
        put(header, 576, b"W2ru");
        put(header, 580, &512u32.to_be_bytes());
        put(header, 584, &(name.len() as u32).to_be_bytes());
        put(header, 592, &2048u64.to_be_bytes());
    };
    let mut text = name.clone();
    text.resize(text.len().next_multiple_of(512), 0);
    vhd(4, b"the child's own.", locate, &text)
}

/// A VHD of this type of which nothing is allocated; `more` lies between its table and its last footer.
fn vhd(kind: u32, uuid: &[u8; 16], header: impl FnOnce(&mut [u8]), more: &[u8]) -> Vec<u8> {
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 8, &2u32.to_be_bytes());
    put(&mut footer, 12, &0x1_0000u32.to_be_bytes());
    put(&mut footer, 16, &512u64.to_be_bytes());
    put(&mut footer, 28, b"win ");
    put(&mut footer, 36, b"Wi2k");
    put(&mut footer, 40, &SIZE.to_be_bytes());
    put(&mut footer, 48, &SIZE.to_be_bytes());
    put(&mut footer, 60, &kind.to_be_bytes());
    put(&mut footer, 68, uuid);
    sum(&mut footer, 64);
    let mut dynamic = vec![0; 1024];
    put(&mut dynamic, 0, b"cxsparse");
    put(&mut dynamic, 8, &u64::MAX.to_be_bytes());
    put(&mut dynamic, 16, &1536u64.to_be_bytes());
    put(&mut dynamic, 24, &0x1_0000u32.to_be_bytes());
    put(&mut dynamic, 28, &1u32.to_be_bytes());
    put(&mut dynamic, 32, &(SIZE as u32).to_be_bytes());
    header(&mut dynamic);
    sum(&mut dynamic, 36);
    [&footer, &dynamic, &vec![0xff; 512], more, &footer].concat()
}

fn sum(bytes: &mut [u8], at: usize) {
    let sum = !bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    put(bytes, at, &sum.to_be_bytes());
}
