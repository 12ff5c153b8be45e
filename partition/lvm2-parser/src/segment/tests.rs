//! Segments as LVM2 wrote them (`golden/`), and the same with contradictions.

use super::*;
use crate::VolumeGroup;

const THIN: &str = include_str!("../../golden/thin.vg");
const SNAPSHOT: &str = include_str!("../../golden/snapshot.vg");
const RAID: &str = include_str!("../../golden/raid.vg");
const CACHE: &str = include_str!("../../golden/cache.vg");

fn index(group: &VolumeGroup, name: &str) -> usize {
    group.logical_volumes.iter().position(|volume| volume.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The mapping of a volume's only segment.
fn mapping<'g>(group: &'g VolumeGroup, name: &str) -> &'g Mapping {
    match &group.logical_volumes[index(group, name)].segments[..] {
        [segment] => &segment.mapping,
        other => panic!("{other:?}"),
    }
}

fn parse(text: &str) -> VolumeGroup {
    VolumeGroup::parse(text.as_bytes()).unwrap()
}

#[test]
fn thin_volumes() {
    let group = parse(THIN);
    let at = |name| index(&group, name);
    let (metadata, data) = (at("pool_tmeta"), at("pool_tdata"));
    let pool = ThinPool { metadata, data, transaction_id: 7, chunk_size: 128 };
    assert_eq!(*mapping(&group, "pool"), Mapping::ThinPool(pool));
    let thin = Thin { pool: at("pool"), device_id: 2, external_origin: None, merge: None };
    assert_eq!(*mapping(&group, "snap"), Mapping::Thin(thin.clone()));
    let outer = Thin { device_id: 5, external_origin: Some(at("base")), ..thin };
    assert_eq!(*mapping(&group, "outer"), Mapping::Thin(outer));
    assert_eq!(mapping(&group, "outer").logical(), [at("pool"), at("base")]);
    let merging = parse(&THIN.replace("device_id = 2", "device_id = 2 merge = \"one\""));
    let Mapping::Thin(snap) = mapping(&merging, "snap") else { panic!("thin") };
    assert_eq!(snap.merge, Some(index(&merging, "one")));
}

#[test]
fn snapshots() {
    let group = parse(SNAPSHOT);
    let at = |name| index(&group, name);
    let large = Snapshot { origin: at("origin"), store: at("large"), chunk_size: 32, merging: false };
    let ties: Vec<_> = group.logical_volumes.iter().map(|volume| &volume.segments[0].mapping).collect();
    assert!(ties.contains(&&Mapping::Snapshot(large.clone())));
    let merge = Snapshot { origin: at("back"), store: at("merge"), chunk_size: 8, merging: true };
    assert!(ties.contains(&&Mapping::Snapshot(merge)));
    assert_eq!(Mapping::Snapshot(large).logical(), [at("origin"), at("large")]);
}

#[test]
fn images_of_raid() {
    let group = parse(RAID);
    let image = |number: usize| RaidImage {
        metadata: Some(index(&group, &format!("raid5_rmeta_{number}"))),
        data: index(&group, &format!("raid5_rimage_{number}")),
    };
    let images = vec![image(0), image(1), image(2)];
    let raid = Raid { kind: "raid5".into(), stripe_size: 8, data_copies: None, reshape_extents: 0, images };
    assert_eq!(*mapping(&group, "raid5"), Mapping::Raid(raid));
    assert_eq!(mapping(&group, "raid5").logical().len(), 6);
    assert_eq!((mapping(&group, "raid5").kind(), mapping(&group, "raid1").areas().len()), ("raid5", 0));
    // The type without metadata has another list.
    let pair = |number| format!("\"raid5_rmeta_{number}\", \"raid5_rimage_{number}\"");
    let alone = |number| format!("\"raid5_rimage_{number}\"");
    let mut text = RAID.replacen("\"raid5\"", "\"raid0\"", 1);
    let start = text.find("type = \"raid0\"").unwrap();
    let rest = text.split_off(start).replacen("device_count", "stripe_count", 1).replacen("raids", "raid0_lvs", 1);
    text += &(0..3).fold(rest, |rest, number| rest.replace(&pair(number), &alone(number)));
    let Mapping::Raid(raid0) = mapping(&parse(&text), "raid5").clone() else { panic!("raid0") };
    assert_eq!(raid0.images.iter().map(|image| image.metadata).collect::<Vec<_>>(), [None; 3]);
    // Space for a reshape is none of the volume's: two extents of each of the two images with data.
    let reshape =
        |count| RAID.replace("type = \"raid5\"", &format!("type = \"raid5+RESHAPE\" reshape_count = {count}"));
    let reshaped = parse(&reshape(2));
    let Mapping::Raid(raid) = mapping(&reshaped, "raid5") else { panic!("raid5") };
    assert_eq!((raid.kind.as_str(), raid.reshape_extents), ("raid5", 2));
    assert_eq!(reshaped.logical_volumes[index(&reshaped, "raid5")].extents, 4);
    assert!(VolumeGroup::parse(reshape(5).as_bytes()).unwrap_err().to_string().contains("5 extents kept of 8"));
    // A flag that says something else.
    let other = parse(&RAID.replace("type = \"raid5\"", "type = \"raid5+OTHER\""));
    assert!(matches!(mapping(&other, "raid5"), Mapping::Other { .. }));
    assert_eq!(mapping(&other, "raid5").kind(), "raid5");
}

#[test]
fn caches() {
    let group = parse(CACHE);
    let at = |name| index(&group, name);
    let pool =
        CachePool { metadata: at("fast_cpool_cmeta"), data: at("fast_cpool_cdata"), mode: Some("writeback".into()) };
    assert_eq!(*mapping(&group, "fast_cpool"), Mapping::CachePool(pool));
    let cache = Cache { origin: at("cached_corig"), pool: at("fast_cpool"), single: None, mode: None };
    assert_eq!(*mapping(&group, "cached"), Mapping::Cache(cache));
    let writecache = Writecache { origin: at("written_wcorig"), cache: at("ahead_cvol"), block_size: 4096 };
    assert_eq!(*mapping(&group, "written"), Mapping::Writecache(writecache));
    let single = "type = \"cache+CACHE_USES_CACHEVOL\" cache_mode = \"writethrough\" metadata_start = 0 \
                  metadata_len = 4096 data_start = 4096 data_len = 64";
    let group = parse(&CACHE.replacen("type = \"cache\"", single, 1));
    let Mapping::Cache(cache) = mapping(&group, "cached") else { panic!("cache") };
    let parts = SingleCache { metadata_start: 0, metadata_len: 4096, data_start: 4096, data_len: 64 };
    assert_eq!((cache.single, cache.mode.as_deref()), (Some(parts), Some("writethrough")));
}

#[test]
fn mirrors_use_extents() {
    let text =
        RAID.replacen("type = \"raid1\"", "type = \"mirror\" mirrors = [\"pv1\", 5, \"raid5\", 0] mirror_count = 2", 1);
    let group = parse(&text);
    let areas = vec![
        Area { target: Target::Physical(1), start: 5 },
        Area { target: Target::Logical(index(&group, "raid5")), start: 0 },
    ];
    let mirror = Mapping::Mirror { areas, log: None, region_size: 128 };
    assert_eq!(*mapping(&group, "raid1"), mirror);
    assert_eq!(parse(RAID).free_extents()[1], group.free_extents()[1] + 8);
}

#[test]
fn contradictions_are_errors() {
    for (text, old, new, want) in [
        (THIN, "thin_pool = \"pool\"", "thin_pool = \"pol\"", "no logical volume \"pol\""),
        (THIN, "thin_pool = \"pool\"", "thin_pool = 3", "no string \"thin_pool\""),
        (THIN, "external_origin = \"base\"", "external_origin = \"pv0\"", "no logical volume \"pv0\""),
        (THIN, "device_id = 2", "device_id = -1", "out of range"),
        (THIN, "chunk_size = 128", "", "no integer \"chunk_size\""),
        (SNAPSHOT, "cow_store", "other", "needs one of"),
        (SNAPSHOT, "cow_store = \"small\"", "cow_store = \"small\" merging_store = \"small\"", "needs one of"),
        (RAID, "device_count = 2", "device_count = 3", "device_count 3, but there are 2 raids"),
        (RAID, "\"raid1_rmeta_0\", ", "", "not a list of images"),
        (RAID, "raids = [", "raids = [] other = [", "but there are 0 raids"),
        (RAID, "raids = [", "raids = [1, ", "is not all strings"),
        (CACHE, "writecache_block_size = 4096", "", "no integer \"writecache_block_size\""),
        (CACHE, "cache_mode = \"writeback\"", "cache_mode = 1", "no string \"cache_mode\""),
    ] {
        let at = text.find(old).unwrap_or_else(|| panic!("{old}"));
        let patched = format!("{}{new}{}", &text[..at], &text[at + old.len()..]);
        let why = VolumeGroup::parse(patched.as_bytes()).expect_err(new).to_string();
        assert!(why.contains(want), "{new}: {why}");
    }
}
