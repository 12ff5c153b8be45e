use super::*;

const A: &str = "{11111111-1111-1111-1111-111111111111}";
const B: &str = "{22222222-2222-2222-2222-222222222222}";
const TOP_GUID: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const NONE: &str = "{00000000-0000-0000-0000-000000000000}";

fn image(guid: &str, kind: &str, file: &str) -> String {
    format!("<Image><GUID>{guid}</GUID><Type>{kind}</Type><File>{file}</File></Image>")
}

fn storage(start: u64, end: u64, images: &str) -> String {
    format!("<Storage><Start>{start}</Start><End>{end}</End><Blocksize>2048</Blocksize>{images}</Storage>")
}

fn shot(guid: &str, parent: &str) -> String {
    format!("<Shot><GUID>{guid}</GUID><ParentGUID>{parent}</ParentGUID></Shot>")
}

fn descriptor(storages: &str, snapshots: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version=\"1.0\"><Disk_Parameters><Padding>0</Padding>\
         <Encryption><Engine>{NONE}</Engine></Encryption></Disk_Parameters><StorageData>{storages}</StorageData>\
         <Snapshots>{snapshots}</Snapshots></Parallels_disk_image>"
    )
}

fn refused(text: &str) -> String {
    let error = Descriptor::parse(text, None).unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
    error
}

#[test]
fn images_lie_on_each_other_as_the_snapshots_say() {
    let images = image(TOP_GUID, "Compressed", "top") + &image(A, "Plain", "a") + &image(B, "Compressed", "b &amp; c");
    let shots = shot(TOP_GUID, B) + &shot(B, A) + &shot(A, NONE);
    let of = |file: &str, is_expandable| Image { file: file.into(), is_expandable };
    let parse = |snapshots: &str, snapshot: Option<&str>| {
        let mut found = Descriptor::parse(&descriptor(&storage(0, 10, &images), snapshots), snapshot).unwrap();
        assert_eq!((found.storages.len(), found.storages[0].size), (1, 5120));
        found.storages.remove(0).images
    };
    let all = [of("a", false), of("b & c", true), of("top", true)];
    assert_eq!(parse(&shots, None), all);
    assert_eq!(parse(&format!("<TopGUID>{B}</TopGUID>{shots}"), None), all[..2]);
    assert_eq!(parse(&shots, Some("22222222-2222-2222-2222-222222222222")), all[..2]);
    assert_eq!(parse(&shots, Some(A)), all[..1]);
    let text = descriptor(&storage(0, 10, &images), &shots);
    for wrong in ["name", "", "{33333333-3333-3333-3333-333333333333}"] {
        let error = Descriptor::parse(&text, Some(wrong)).unwrap_err().to_string();
        assert!(error.contains("no snapshot has the GUID"), "{error}");
    }
}

#[test]
fn parts_follow_each_other() {
    let one = image(A, "Plain", "a");
    let shots = shot(A, NONE) + &format!("<TopGUID>{A}</TopGUID>");
    let parse = |storages: &str| Descriptor::parse(&descriptor(storages, &shots), None);
    let found = parse(&(storage(4, 7, &one) + &storage(0, 4, &one))).unwrap();
    assert_eq!(found.storages.iter().map(|storage| storage.size).collect::<Vec<_>>(), [2048, 1536]);
    for (storages, want) in [
        (storage(0, 4, &one) + &storage(5, 7, &one), "starts at sector 5, but the one before ends at 4"),
        (storage(0, 4, &one) + &storage(3, 7, &one), "starts at sector 3"),
        (storage(1, 4, &one), "starts at sector 1"),
        (storage(4, 4, &one), "from sector 4 to 4"),
        (String::new(), "no parts"),
        (storage(0, u64::MAX, &one), "want a number of sectors"),
        (storage(0, 1, &one).repeat(MAX_ENTRIES + 1), "1024 parts"),
    ] {
        let error = parse(&storages).unwrap_err().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
}

#[test]
fn without_snapshots_there_is_one_image() {
    let one = image(A, "Compressed", "a");
    let found = Descriptor::parse(&descriptor(&storage(0, 4, &one), ""), None).unwrap();
    assert_eq!(found.storages[0].images.len(), 1);
    let two = storage(0, 4, &(one + &image(B, "Compressed", "b")));
    assert!(refused(&descriptor(&two, "")).contains("a part has 2 images"));
}

#[test]
fn what_is_wrong_or_not_read_is_said() {
    let one = image(A, "Plain", "a");
    let part = storage(0, 4, &one);
    let loops = shot(TOP_GUID, A) + &shot(A, TOP_GUID);
    for (storages, shots, want) in [
        (part.clone(), loops, "is its own ancestor"),
        (part.clone(), shot(A, NONE), "there is no snapshot 5fbaabe3"),
        (part.clone(), shot(TOP_GUID, A), "there is no snapshot 11111111"),
        (part.clone(), shot(TOP_GUID, NONE), "a part has no image 5fbaabe3"),
        (part.clone(), shot(A, NONE) + &shot(A, NONE), "two snapshots have the GUID"),
        (part.clone(), shot("x", NONE), "\"x\" is no GUID"),
        (storage(0, 4, &one.repeat(2)), shot(A, NONE) + &format!("<TopGUID>{A}</TopGUID>"), "two images of one part"),
        (storage(0, 4, &image(A, "Ploop", "a")), shot(TOP_GUID, NONE), "a is of the type \"Ploop\""),
        (storage(0, 4, &image(A, "Plain", "")), shot(TOP_GUID, NONE), "an image without a file"),
        (
            storage(0, 4, &(image(A, "Plain", "a") + &image(TOP_GUID, "Plain", "t"))),
            shot(TOP_GUID, A) + &shot(A, NONE),
            "t lies on another image, but is plain",
        ),
    ] {
        let error = refused(&descriptor(&storages, &shots));
        assert!(error.contains(want), "{want}: {error}");
    }
    let text = descriptor(&part, "");
    for (from, to, want) in [
        ("<Padding>0", "<Padding>1", "padding 1"),
        ("<Padding>0</Padding>", "<LogicSectorSize>4096</LogicSectorSize>", "sectors of 4096 bytes"),
        ("<Engine>{0000", "<Engine>{0100", "encrypted by Parallels"),
        ("\"1.0\"", "\"2.0\"", "version \"2.0\""),
        ("<Parallels_disk_image ", "<Parallels_disk ", "cannot be read"),
    ] {
        let error = refused(&text.replacen(from, to, 1));
        assert!(error.contains(want), "{want}: {error}");
    }
}
