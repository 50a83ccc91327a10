//! Containers, by the names of the semantic conventions: `container.*`.

use opentelemetry::KeyValue;

use super::spec::{Beginning, Bound, Observe, Spec};
use crate::engine::observation::UsageSeen;
use crate::engine::view::ContainerView;
use crate::engine::{CheckView, Snapshot};

const IMAGE: &str = "container.image.name";
const NAME: &str = "container.name";
const DISK_DIRECTION: &str = "disk.io.direction";
const NETWORK_DIRECTION: &str = "network.io.direction";

pub(super) const ALL: &[Spec] = &[
    Spec::gauge(
        "container.uptime",
        "s",
        "How long the present run of a container has lasted.",
        |snapshot, observe| {
            each(snapshot, |check, container| {
                let seen = &container.seen;
                if let Some(started) = seen.started.filter(|_| seen.status.is_up()) {
                    let lasts = snapshot.at.since(started).as_secs_f64();
                    observe(lasts, &of(check, container));
                }
            });
        },
    )
    .by(&[IMAGE, NAME], Bound::Containers),
    Spec::counter(
        "container.cpu.time",
        Beginning::Before,
        "s",
        "Processor time that a container has used.",
        |snapshot, observe| {
            used(snapshot, |usage, attributes| {
                if let Some(seconds) = usage.cpu_seconds {
                    observe(seconds, attributes);
                }
            });
        },
    )
    .by(&[IMAGE, NAME], Bound::Containers),
    Spec::amount(
        "container.memory.usage",
        "By",
        "Memory that a container uses, without what the kernel would give back at once.",
        |snapshot, observe| {
            used(snapshot, |usage, attributes| {
                if let Some(bytes) = usage.memory {
                    observe(bytes as f64, attributes);
                }
            });
        },
    )
    .by(&[IMAGE, NAME], Bound::Containers),
    Spec::counter(
        "container.network.io",
        Beginning::Before,
        "By",
        "Bytes that a container has received and sent, but for its loopback.",
        |snapshot, observe| {
            used(snapshot, |usage, attributes| {
                let both = [("receive", usage.received), ("transmit", usage.sent)];
                directions(NETWORK_DIRECTION, both, attributes, observe);
            });
        },
    )
    .whole()
    .by(&[IMAGE, NAME, NETWORK_DIRECTION], Bound::ContainerDirections),
    Spec::counter(
        "container.disk.io",
        Beginning::Before,
        "By",
        "Bytes that a container has read from block devices and written to them.",
        |snapshot, observe| {
            used(snapshot, |usage, attributes| {
                let both = [("read", usage.read), ("write", usage.written)];
                directions(DISK_DIRECTION, both, attributes, observe);
            });
        },
    )
    .whole()
    .by(&[IMAGE, NAME, DISK_DIRECTION], Bound::ContainerDirections),
];

fn each(snapshot: &Snapshot, mut see: impl FnMut(&CheckView, &ContainerView)) {
    for check in &snapshot.checks {
        if let Some(container) = &check.container {
            see(check, container);
        }
    }
}

/// What containers use of which it is known.
fn used(snapshot: &Snapshot, mut see: impl FnMut(&UsageSeen, &[KeyValue; 2])) {
    each(snapshot, |check, container| {
        if let Some(usage) = &container.usage {
            see(usage, &of(check, container));
        }
    });
}

fn of(check: &CheckView, container: &ContainerView) -> [KeyValue; 2] {
    let image = image_name(&container.seen.image).to_owned();
    [KeyValue::new(IMAGE, image), KeyValue::new(NAME, check.id.name.clone())]
}

/// Without the tag and the digest: a new version of it goes on in the same series.
fn image_name(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before a slash is that of a port.
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

fn directions(
    key: &'static str,
    both: [(&'static str, Option<u64>); 2],
    [image, name]: &[KeyValue; 2],
    observe: &mut Observe<'_>,
) {
    for (direction, bytes) in both {
        if let Some(bytes) = bytes {
            let direction = KeyValue::new(key, direction);
            observe(bytes as f64, &[image.clone(), name.clone(), direction]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::image_name;

    #[test]
    fn the_name_of_an_image_has_no_version() {
        let of = [
            ("nginx", "nginx"),
            ("nginx:1.29-alpine", "nginx"),
            ("registry.example.org:5000/shop/web", "registry.example.org:5000/shop/web"),
            (
                "registry.example.org:5000/shop/web:1.2@sha256:ab",
                "registry.example.org:5000/shop/web",
            ),
        ];
        for (image, name) in of {
            assert_eq!(image_name(image), name);
        }
        // An image that has lost its name goes by its digest's kind.
        assert_eq!(image_name("sha256:0011"), "sha256");
    }
}
