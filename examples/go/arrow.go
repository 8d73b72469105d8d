package main

import "encoding/binary"

const (
	recordBatch     = 3 // MessageHeader.RecordBatch
	headerTypeField = 1 // fields of Message, in the order of Arrow's Message.fbs
	headerField     = 2
	bodyLengthField = 3
	lengthField     = 0 // the first field of RecordBatch
)

// arrowRowCount returns the number of rows of an Arrow IPC stream, from the headers of its record batches. A program that
// needs the values uses github.com/apache/arrow-go: ipc.NewReader. Debian has no package of it.
func arrowRowCount(stream []byte) (rows int64) {
	word := func(at int) int { return int(int32(binary.LittleEndian.Uint32(stream[at:]))) }
	// field returns where a field of a FlatBuffers table is, 0 if it is absent.
	field := func(table, index int) int {
		vtable := table - word(table)
		entry := 4 + 2*index
		if entry >= int(binary.LittleEndian.Uint16(stream[vtable:])) {
			return 0
		}
		offset := int(binary.LittleEndian.Uint16(stream[vtable+entry:]))
		if offset == 0 {
			return 0
		}
		return table + offset
	}
	// A message: a continuation marker (-1), the size of its header, the header (a FlatBuffer), the body.
	for at := 0; at < len(stream) && word(at) == -1 && word(at+4) != 0; {
		header := at + 8
		message := header + word(header)
		if stream[field(message, headerTypeField)] == recordBatch {
			reference := field(message, headerField)
			batch := reference + word(reference)
			rows += int64(binary.LittleEndian.Uint64(stream[field(batch, lengthField):]))
		}
		at = header + word(at+4)
		if body := field(message, bodyLengthField); body != 0 {
			at += int(binary.LittleEndian.Uint64(stream[body:]))
		}
	}
	return rows
}
