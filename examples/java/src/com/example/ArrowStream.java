package com.example;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Counts the rows of an Arrow IPC stream from the headers of its record batches.
 *
 * <p>A program that needs the values uses {@code org.apache.arrow:arrow-vector}: {@code new ArrowStreamReader(in, allocator)}.
 * Debian has no package of it.
 */
final class ArrowStream {
  private static final int CONTINUATION = 0xFFFFFFFF;
  private static final int RECORD_BATCH = 3; // MessageHeader.RecordBatch
  private static final int HEADER_TYPE = 1; // fields of Message, in the order of Arrow's Message.fbs
  private static final int HEADER = 2;
  private static final int BODY_LENGTH = 3;
  private static final int LENGTH = 0; // the first field of RecordBatch

  private ArrowStream() {}

  /** Returns the number of rows. */
  static long rowCount(ByteBuffer content) {
    ByteBuffer stream = content.order(ByteOrder.LITTLE_ENDIAN);
    long rows = 0;
    int at = 0;
    // A message: a continuation marker, the size of its header, the header (a FlatBuffer), the body.
    while (at < stream.limit() && stream.getInt(at) == CONTINUATION) {
      int size = stream.getInt(at + 4);
      if (size == 0) {
        break; // the end of the stream
      }
      int header = at + 8;
      int message = header + stream.getInt(header);
      if (stream.get(field(stream, message, HEADER_TYPE)) == RECORD_BATCH) {
        int reference = field(stream, message, HEADER);
        rows += stream.getLong(field(stream, reference + stream.getInt(reference), LENGTH));
      }
      int body = field(stream, message, BODY_LENGTH); // 0: absent, the body is empty
      at = header + size + (body == 0 ? 0 : (int) stream.getLong(body));
    }
    return rows;
  }

  /** Returns where a field of a FlatBuffers table is, 0 if it is absent. */
  private static int field(ByteBuffer stream, int table, int index) {
    int vtable = table - stream.getInt(table);
    int entry = 4 + 2 * index;
    int offset = entry < stream.getShort(vtable) ? stream.getShort(vtable + entry) : 0;
    return offset == 0 ? 0 : table + offset;
  }
}
