use super::*;

const OVF: &str = "http://schemas.dmtf.org/ovf/envelope/1";

fn envelope(body: &str) -> String {
    format!("<?xml version='1.0'?><Envelope xmlns='{OVF}' xmlns:ovf='{OVF}' xmlns:rasd='rasd'>{body}</Envelope>")
}

fn files(count: usize) -> String {
    let file = |n| format!("<File ovf:id='file{n}' ovf:href='disk {n}.vmdk' ovf:size='10'/>");
    let disk = |n| {
        format!(
            "<Disk ovf:diskId='d{n}' ovf:fileRef='file{n}' ovf:capacity='4' ovf:capacityAllocationUnits='byte * 2^30' \
             ovf:format='http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized'/>"
        )
    };
    let (files, disks): (String, String) = (1..=count).map(|n| (file(n), disk(n))).unzip();
    format!("<References>{files}</References><DiskSection><Info>x</Info>{disks}</DiskSection>")
}

fn item(id: u32, kind: u32, rest: &str) -> String {
    format!("<Item><rasd:InstanceID>{id}</rasd:InstanceID><rasd:ResourceType>{kind}</rasd:ResourceType>{rest}</Item>")
}

fn drive(id: u32, disk: &str, parent: u32, at: u32) -> String {
    let rest = format!(
        "<rasd:HostResource>{disk}</rasd:HostResource><rasd:Parent>{parent}</rasd:Parent>\
         <rasd:AddressOnParent>{at}</rasd:AddressOnParent>"
    );
    item(id, 17, &rest)
}

fn system(items: &[String]) -> String {
    format!("<VirtualSystem><VirtualHardwareSection>{}</VirtualHardwareSection></VirtualSystem>", items.concat())
}

fn ids(text: &str) -> Vec<String> {
    parse(text).unwrap().into_iter().map(|disk| disk.id).collect()
}

fn refused(body: &str) -> String {
    let error = parse(&envelope(body)).unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
    error
}

#[test]
fn without_hardware_disks_are_as_they_stand() {
    let disks = parse(&envelope(&files(2))).unwrap();
    let file = |n| FileEntry {
        href: format!("disk {n}.vmdk"),
        size: Some(10),
        compression: None,
        chunk: None,
        format: Some("vmdk"),
    };
    let disk = |n| DiskEntry { id: format!("d{n}"), source: Source::File(file(n)) };
    assert_eq!(disks, [disk(1), disk(2)]);
}

#[test]
fn hardware_gives_the_order() {
    let address = |at| format!("<rasd:Address>{at}</rasd:Address>");
    let controllers = [
        item(1, 5, &address(1)),
        item(2, 5, &address(0)),
        item(3, 6, &address(0)),
        // A CD drive, and a disk that is none.
        item(9, 15, "<rasd:HostResource>ovf:/file/file9</rasd:HostResource>"),
        item(10, 17, ""),
    ];
    let drives = [
        drive(4, "/disk/d1", 3, 1),
        drive(5, "ovf:/disk/d2", 3, 0),
        drive(6, "ovf:/disk/d3", 1, 0),
        drive(7, "ovf:/disk/d4", 2, 1),
        drive(8, "ovf:/disk/d5", 2, 0),
        drive(11, "ovf:/disk/d5", 2, 3),
    ];
    let text = envelope(&(files(6) + &system(&[&controllers[..], &drives[..]].concat())));
    assert_eq!(ids(&text), ["d5", "d4", "d3", "d2", "d1", "d6"], "the last one is on no controller");
    // Ten and two are numbers; the second machine comes after the first.
    let first = system(&[item(3, 6, ""), drive(4, "ovf:/disk/d1", 3, 10), drive(5, "ovf:/disk/d3", 3, 2)]);
    let second = system(&[item(3, 6, ""), drive(4, "ovf:/disk/d2", 3, 0), drive(5, "ovf:/disk/d3", 3, 1)]);
    let both = format!("<VirtualSystemCollection>{first}{second}</VirtualSystemCollection>");
    assert_eq!(ids(&envelope(&(files(3) + &both))), ["d3", "d1", "d2"]);
    // A file may stand for the disk in it.
    let disk = parse(&envelope(&(files(1) + &system(&[drive(1, "ovf:/file/file1", 3, 0)])))).unwrap();
    assert_eq!(disk[0].id, "file file1");
}

#[test]
fn blank_disks_have_their_size() {
    for (units, want) in [
        ("", 40),
        ("ovf:capacityAllocationUnits='byte'", 40),
        ("ovf:capacityAllocationUnits='byte * 2^30'", 40 << 30),
        ("ovf:capacityAllocationUnits='byte*2^20'", 40 << 20),
    ] {
        let body = format!("<DiskSection><Disk ovf:diskId='d' ovf:capacity='40' {units}/></DiskSection>");
        let disk = DiskEntry { id: "d".into(), source: Source::Blank(want) };
        assert_eq!(parse(&envelope(&body)).unwrap(), [disk]);
    }
    for attributes in [
        "",
        "ovf:capacity='-1'",
        "ovf:capacity='${size}'",
        "ovf:capacity='1' ovf:capacityAllocationUnits='byte * 2^64'",
        "ovf:capacity='1' ovf:capacityAllocationUnits='byte * 2^63'",
        "ovf:capacity='4' ovf:capacityAllocationUnits='byte * 2^62'",
        "ovf:capacity='4' ovf:capacityAllocationUnits='furlong'",
    ] {
        let error = refused(&format!("<DiskSection><Disk ovf:diskId='d' {attributes}/></DiskSection>"));
        assert!(error.contains("disk d is blank, and its size is") || error.contains("want a number"), "{error}");
    }
}

#[test]
fn what_is_wrong_or_not_read_is_said() {
    let disk = |attributes: &str| format!("<DiskSection><Disk {attributes}/></DiskSection>");
    let file = |attributes: &str| format!("<References><File {attributes}/></References>");
    for (body, want) in [
        ("".to_owned(), "the appliance has no disks"),
        (files(1) + &system(&[drive(1, "ovf:/disk/d2", 0, 0)]), "the hardware has a disk d2, which is nowhere"),
        (files(1) + &system(&[drive(1, "ovf:/file/d2", 0, 0)]), "the hardware has a file d2, which is nowhere"),
        (files(1) + &system(&[drive(1, "http://x/y", 0, 0)]), "a disk http://x/y, which is not in the appliance"),
        (files(1) + &files(1), "two files have the id file1"),
        (files(1) + &disk("ovf:diskId='d1' ovf:fileRef='file1'"), "two disks have the id d1"),
        (disk("ovf:fileRef='file1'"), "a disk without a diskId"),
        (disk("ovf:diskId='d' ovf:fileRef='f'"), "disk d is in file f, which is nowhere"),
        (disk("ovf:diskId='d' ovf:parentRef='e'"), "disk d has only what differs from its parent e"),
        (file("ovf:id='f'"), "a file without a href"),
        (file("ovf:href='f'"), "a file without an id"),
        (file("ovf:id='f' ovf:href='h' ovf:compression='rar'"), "h is compressed with rar"),
        (file("ovf:id='f' ovf:href='h' ovf:size='big'"), "size is big, want a number"),
    ] {
        let error = refused(&body);
        assert!(error.contains(want), "{want}: {error}");
    }
    for text in ["<Envelope/>", "<Envelope xmlns='http://www.w3.org/2003/05/soap-envelope'/>", "<x/>", "<", ""] {
        assert!(parse(text).is_err(), "{text}");
    }
    let many: String = (0..MAX_DISKS + 1).map(|n| format!("<Disk ovf:diskId='{n}' ovf:capacity='1'/>")).collect();
    assert!(refused(&format!("<DiskSection>{many}</DiskSection>")).contains("1024 disks"));
}
