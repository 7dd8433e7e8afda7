//! A vmdk writer that shares nothing with the decoder: a stream as VMware's tools and VirtualBox write it, its grain
//! directory at the end.

#![expect(clippy::cast_possible_truncation, reason = "the writer's images are small")]

use libdeflater::{CompressionLvl, Compressor};

/// How a stream is laid out.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice that writers make on its own")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// In sectors.
    pub(crate) grain: usize,
    /// All grain tables behind all grains, and not each behind its own.
    pub(crate) tables_last: bool,
    /// Tables without a grain are written too.
    pub(crate) empty_tables: bool,
    /// The directory is written twice, as redundant and proper one.
    pub(crate) redundant: bool,
    /// The last grain is compressed as far as the disk reaches, not padded.
    pub(crate) short_end: bool,
}

/// Where the parts of a stream lie, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The grains' markers.
    pub(crate) grains: Vec<usize>,
    /// The grain tables that the directory points to.
    pub(crate) tables: Vec<usize>,
    pub(crate) directory: usize,
    pub(crate) footer: usize,
}

const SECTOR: usize = 512;
const OVERHEAD: usize = 128 * SECTOR;

impl Stream {
    /// The image of a disk.
    pub(crate) fn write(&self, disk: &[u8]) -> (Vec<u8>, Places) {
        let mut places = Places::default();
        let mut image = self.header(disk.len(), u64::MAX);
        let descriptor = format!(
            "# Disk DescriptorFile\nversion=1\nCID=7d2c1f6e\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
             # Extent description\nRDONLY {} SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n\
             ddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"10\"\n",
            disk.len() / SECTOR
        );
        image.extend(descriptor.as_bytes());
        image.resize(OVERHEAD, 0);

        let grain = self.grain * SECTOR;
        let count = disk.len().div_ceil(grain).div_ceil(512);
        let mut directory = vec![0_u32; count];
        let mut late = Vec::new();
        for (index, part) in disk.chunks(512 * grain).enumerate() {
            let table = self.grains(&mut image, part, index * 512 * self.grain, &mut places);
            if table.iter().all(|&entry| entry == 0) && !self.empty_tables {
                continue;
            }
            if self.tables_last {
                late.push((index, table));
            } else {
                directory[index] = write_table(&mut image, 1, &table, &mut places.tables);
            }
        }
        for (index, table) in late {
            directory[index] = write_table(&mut image, 1, &table, &mut places.tables);
        }
        let mut directories = Vec::new();
        for _ in 0..=usize::from(self.redundant) {
            write_table(&mut image, 2, &directory, &mut directories);
        }
        places.directory = *directories.last().expect("one");
        image.extend(marker(1, 0, 3));
        places.footer = image.len();
        let footer = self.header(disk.len(), (places.directory / SECTOR) as u64);
        image.extend(footer);
        image.extend(marker(0, 0, 0));
        (image, places)
    }

    fn header(&self, size: usize, directory: u64) -> Vec<u8> {
        let mut header = b"KDMV\x03\0\0\0\x01\0\x03\0".to_vec();
        for value in [(size / SECTOR) as u64, self.grain as u64, 1, 20] {
            header.extend(value.to_le_bytes());
        }
        header.extend(512_u32.to_le_bytes());
        for value in [0, directory, (OVERHEAD / SECTOR) as u64] {
            header.extend(value.to_le_bytes());
        }
        header.extend(b"\0\n \r\n\x01\0");
        header.resize(SECTOR, 0);
        header
    }

    /// Writes the grains of one table that are not zero.
    fn grains(&self, image: &mut Vec<u8>, part: &[u8], first: usize, places: &mut Places) -> Vec<u32> {
        let size = self.grain * SECTOR;
        let mut table = vec![0; 512];
        for (index, data) in part.chunks(size).enumerate() {
            if data.iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut data = data.to_vec();
            if !self.short_end {
                data.resize(size, 0);
            }
            let mut compressor = Compressor::new(CompressionLvl::fastest());
            let mut packed = vec![0; compressor.zlib_compress_bound(data.len())];
            let length = compressor.zlib_compress(&data, &mut packed).expect("compressed");
            table[index] = (image.len() / SECTOR) as u32;
            places.grains.push(image.len());
            let marker = marker((first + index * self.grain) as u64, length as u32, 0);
            image.extend(&marker[..12]);
            image.extend(&packed[..length]);
            image.resize(image.len().next_multiple_of(SECTOR), 0);
        }
        table
    }
}

/// Writes a table behind its marker, and gives its sector.
fn write_table(image: &mut Vec<u8>, kind: u32, table: &[u32], places: &mut Vec<usize>) -> u32 {
    let length = (table.len() * 4).next_multiple_of(SECTOR);
    image.extend(marker((length / SECTOR) as u64, 0, kind));
    let offset = image.len();
    places.push(offset);
    image.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
    image.resize(offset + length, 0);
    (offset / SECTOR) as u32
}

fn marker(value: u64, size: u32, kind: u32) -> Vec<u8> {
    let mut marker = [&value.to_le_bytes()[..], &size.to_le_bytes(), &kind.to_le_bytes()].concat();
    marker.resize(SECTOR, 0);
    marker
}
