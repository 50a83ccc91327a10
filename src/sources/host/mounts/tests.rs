//! What is picked from tables of mounts.

use super::*;

const USER: u32 = 998;

fn picked(text: &str, filter: &DiskFilter) -> (Vec<Mount>, Option<ReadError>) {
    picked_from("/", text, filter)
}

fn picked_from(host: &str, text: &str, filter: &DiskFilter) -> (Vec<Mount>, Option<ReadError>) {
    let file = Content::new(Path::new("/proc/self/mountinfo"), text.as_bytes());
    pick(&file, Path::new(host), filter, USER, |point| !point.starts_with("/etc"))
}

/// What is picked, as `MOUNT DEVICE TYPE`, with `ro` and `own` (thread) where so.
fn shown(text: &str) -> Vec<String> {
    let (mounts, problem) = picked(text, &DiskFilter::default());
    assert!(problem.is_none(), "{problem:?}");
    mounts
        .iter()
        .map(|m| {
            let ro = if m.read_only { " ro" } else { "" };
            let own = if m.lane == Lane::Own { " own" } else { "" };
            format!("{} {} {}{ro}{own}", m.name, m.source, m.fstype)
        })
        .collect()
}

#[test]
fn a_plain_host_shows_its_real_file_systems_only() {
    let text = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw - devtmpfs devtmpfs rw,size=12k
25 24 0:23 / /dev/shm rw shared:4 - tmpfs tmpfs rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
30 27 254:15 / /boot/efi rw shared:9 - vfat /dev/vda15 rw,fmask=0022
31 27 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
32 27 11:0 / /media/cdrom ro - iso9660 /dev/sr0 ro
33 27 0:50 / /net rw - autofs systemd-1 rw,fd=57
34 27 254:16 / /srv/archive ro shared:3 master:1 - xfs /dev/vdb1 ro
35 27 0:60 / /srv/share rw - nfs4 server:/share rw,vers=4.2
36 27 0:61 / /run/user/1000/gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw,user_id=1000
";
    assert_eq!(
        shown(text),
        [
            "/ /dev/vda1 ext4",
            "/boot/efi /dev/vda15 vfat",
            "/srv/archive /dev/vdb1 xfs ro",
            "/srv/share server:/share nfs4 own",
        ]
    );
}

#[test]
fn each_file_system_is_shown_once() {
    let text = "\
20 1 254:0 / / rw - ext4 /dev/vda1 rw
21 20 254:0 /srv/a /a rw - ext4 /dev/vda1 rw
22 20 254:1 /inner /b rw - xfs /dev/vdb rw
23 20 254:1 / /longer/than/b rw - xfs /dev/vdb rw
24 20 0:40 /@home /home rw - btrfs /dev/vdc rw,subvol=/@home
25 20 0:40 /@ /var/lib/pool rw - btrfs /dev/vdc rw,subvol=/@
26 20 254:1 / /longest/of/all/of/them rw - xfs /dev/vdb rw
";
    assert_eq!(
        shown(text),
        ["/ /dev/vda1 ext4", "/home /dev/vdc btrfs", "/longer/than/b /dev/vdb xfs"]
    );
}

#[test]
fn only_the_file_system_itself_says_that_it_is_read_only() {
    let text = "\
20 1 254:0 / / ro,relatime - ext4 /dev/vda1 rw
21 20 254:1 / /a rw - ext4 /dev/vdb rw,emergency_ro
22 20 254:2 / /b rw - ext4 /dev/vdc ro,errors=remount-ro
23 20 254:3 / /c rw - ext4 /dev/vdd rw,errors=remount-ro
";
    assert_eq!(
        shown(text),
        ["/ /dev/vda1 ext4", "/a /dev/vdb ext4 ro", "/b /dev/vdc ext4 ro", "/c /dev/vdd ext4"]
    );
}

#[test]
fn a_container_shows_its_root_but_no_images_and_no_single_files() {
    let text = "\
20 1 0:99 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
21 20 254:1 /docker/hosts /etc/hosts rw - ext4 /dev/vda1 rw
22 20 254:1 /volumes/data /var/lib/data rw - ext4 /dev/vda1 rw
23 20 0:98 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
";
    assert_eq!(shown(text), ["/ overlay overlay", "/var/lib/data /dev/vda1 ext4"]);
    let image = "20 1 0:99 / / ro - overlay composefs ro,lowerdir+=/l,datadir+=/d\n";
    assert_eq!(shown(image), Vec::<String>::new());
}

#[test]
fn what_lies_under_another_mount_is_not_shown() {
    let text = "\
20 1 254:0 / / rw - ext4 /dev/vda1 rw
21 20 254:1 / /mnt/below rw - ext4 /dev/vdb rw
22 20 254:2 / /mnt rw - ext4 /dev/vdc rw
23 22 254:3 / /mnt/above rw - ext4 /dev/vdd rw
24 20 0:50 / /auto rw - autofs systemd-1 rw
25 24 254:4 / /auto rw - ext4 /dev/vde rw
26 20 254:5 / /old rw - ext4 /dev/vdf rw
27 26 254:6 / /old rw - ext4 /dev/vdg rw
28 21 254:7 / /mnt/below/deep rw - ext4 /dev/vdh rw
";
    assert_eq!(
        shown(text),
        [
            "/ /dev/vda1 ext4",
            "/auto /dev/vde ext4",
            "/mnt /dev/vdc ext4",
            "/mnt/above /dev/vdd ext4",
            "/old /dev/vdg ext4",
        ]
    );
}

#[test]
fn what_lies_on_a_server_or_an_automount_point_is_treated_with_care() {
    let text = "\
20 1 254:0 / / rw - ext4 /dev/vda1 rw
21 20 0:40 / /n rw - nfs4 s:/ rw
22 21 7:1 / /n/image rw - ext4 /dev/loop1 rw
24 20 0:50 / /boot rw - autofs systemd-1 rw
25 24 254:4 / /boot rw - ext4 /dev/vdb rw
26 25 254:5 / /boot/efi rw - vfat /dev/vdc rw
";
    let (mounts, _) = picked(text, &DiskFilter::default());
    let found: Vec<_> = mounts.iter().map(|m| (&*m.name, m.lane, m.automounted)).collect();
    let (own, shared) = (Lane::Own, Lane::Shared);
    assert_eq!(
        found,
        [
            ("/", shared, false),
            ("/boot", shared, true),
            ("/boot/efi", shared, true),
            ("/n", own, false),
            ("/n/image", own, false),
        ]
    );
}

#[test]
fn private_fuse_mounts_of_other_users_are_not_shown() {
    let text = "\
20 1 0:50 / /a rw - fuse.sshfs me@host:/ rw,user_id=1000,group_id=1000
21 1 0:51 / /b rw - fuse.sshfs me@host:/ rw,user_id=1000,group_id=1000,allow_other
22 1 0:52 / /c rw - fuse.sshfs me@host:/ rw,user_id=998,group_id=998
23 1 0:53 / /d rw - fuseblk /dev/sdx1 rw,user_id=0,group_id=0,allow_other
";
    let expected =
        ["/b me@host:/ fuse.sshfs own", "/c me@host:/ fuse.sshfs own", "/d /dev/sdx1 fuseblk own"];
    assert_eq!(shown(text), expected);
}

#[test]
fn escapes_and_empty_fields_are_understood() {
    let text = "\
20 1 254:0 / /a\\040b\\134c\\011 rw opt:1 opt:2 - ext4 /dev/x\\040y rw
21 1 254:1 / /d\\9 rw - ext4  rw
";
    let (mounts, problem) = picked(text, &DiskFilter::default());
    assert!(problem.is_none());
    assert_eq!(&*mounts[0].name, "/a b\\c\t");
    assert_eq!(&*mounts[0].source, "/dev/x y");
    assert_eq!((&*mounts[1].name, &*mounts[1].source), ("/d\\9", ""));
}

#[test]
fn a_bad_line_is_named_and_hides_no_other() {
    for bad in ["x", "20 1 254 / / rw - ext4 s rw", "20 1 254:0 / / rw ext4 s rw", "2 1 3:4"] {
        let text = format!("19 1 254:9 / /well rw - ext4 /dev/v rw\n{bad}\n");
        let (mounts, problem) = picked(&text, &DiskFilter::default());
        assert_eq!(mounts.len(), 1, "{bad}");
        assert_eq!(
            problem.unwrap().to_string(),
            format!("/proc/self/mountinfo:2: expected a mount, found '{bad}'")
        );
    }
}

#[test]
fn the_filter_leaves_out_by_place_and_by_type() {
    let text = "\
20 1 254:0 / / rw - ext4 /dev/vda1 rw
21 20 254:1 / /mnt/a rw - ext4 /dev/vdb rw
22 21 254:2 / /mnt/a/b rw - ext4 /dev/vdc rw
23 20 0:3 / /n rw - nfs4 s:/ rw
";
    let names = |ignore: &[&str], types: &[&str]| -> Vec<String> {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let filter = DiskFilter::try_new(&owned(ignore), &owned(types)).unwrap();
        picked(text, &filter).0.iter().map(|m| m.name.to_string()).collect()
    };
    assert_eq!(names(&["/mnt/*"], &[]), ["/", "/mnt/a/b", "/n"]);
    assert_eq!(names(&["/mnt/**"], &["nfs*"]), ["/"]);
    let error = DiskFilter::try_new(&["/mnt/[".to_owned()], &[]).unwrap_err();
    assert_eq!(error.to_string(), "'/mnt/[' is not a pattern: invalid range pattern");
}

#[test]
fn a_table_whose_mounts_go_round_in_circles_ends() {
    let text = "\
20 21 254:0 / /a rw - ext4 /dev/a rw
21 20 254:1 / /b rw - ext4 /dev/b rw
22 22 254:2 / /c rw - ext4 /dev/c rw
";
    assert_eq!(shown(text).len(), 3);
}

/// A container as Docker makes it, with the host's `/` at `/host`.
const CONTAINER: &str = "\
500 400 0:70 / / ro - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
501 500 0:71 / /proc rw - proc proc rw
502 500 254:0 / /host ro,relatime master:1 - ext4 /dev/vda1 rw
503 502 254:16 / /host/srv/data ro master:2 - xfs /dev/vdb1 rw
504 502 0:25 / /host/run ro master:3 - tmpfs tmpfs rw
505 502 0:72 / /host/var/lib/docker/overlay2/x/merged ro - overlay overlay rw,upperdir=/u
506 500 254:32 /volumes/state/_data /var/lib/keepwell rw - ext4 /dev/vdc rw
507 500 254:0 /containers/hosts /etc/hosts rw - ext4 /dev/vda1 rw
508 500 254:48 / /hosting rw - ext4 /dev/vdd rw
";

#[test]
fn in_a_container_the_hosts_file_systems_have_the_hosts_names() {
    let filter = DiskFilter::try_new(&["/srv/archive".into()], &[]).unwrap();
    let (mounts, problem) = picked_from("/host", CONTAINER, &filter);
    assert!(problem.is_none(), "{problem:?}");
    let names: Vec<(&str, &Path)> =
        mounts.iter().map(|m| (&*m.name, m.place.point.as_path())).collect();
    let seen = [("/", "/host"), ("/srv/data", "/host/srv/data")];
    assert_eq!(names, seen.map(|(name, at)| (name, Path::new(at))));

    let filter = DiskFilter::try_new(&["/srv/*".into()], &[]).unwrap();
    let (mounts, _) = picked_from("/host", CONTAINER, &filter);
    assert_eq!(mounts.len(), 1, "ignored by the host's name: {mounts:?}");
}

#[test]
fn a_host_whose_own_root_is_an_overlay_is_seen_from_a_container() {
    let text = "\
500 400 0:70 / / ro - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
502 500 0:30 / /host ro master:1 - overlay live rw,lowerdir=/a,upperdir=/b,workdir=/c
";
    let (mounts, _) = picked_from("/host", text, &DiskFilter::default());
    assert_eq!(mounts.iter().map(|m| &*m.name).collect::<Vec<_>>(), ["/"]);
}

#[test]
fn a_host_that_is_not_mounted_is_said() {
    let (mounts, problem) = picked_from("/nowhere", CONTAINER, &DiskFilter::default());
    assert!(mounts.is_empty());
    assert_eq!(
        problem.map(|e| e.to_string()).as_deref(),
        Some(
            "nothing is mounted at or below /nowhere (`host.root`): mount the host's / there, \
             read-only"
        )
    );
}
