package campaign

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/internal/fault"
)

func TestUserHashIsTheHeadOfSHA256(t *testing.T) {
	t.Parallel()
	want := sha256.Sum256([]byte("u1"))
	require.Equal(t, UserHash("u1"), HashPrefix(want))
	user, problem := ListOfHashes.user([]byte(hex.EncodeToString(want[:])))
	require.Zero(t, problem)
	require.Equal(t, UserHash("u1"), user)
	require.Equal(t, int64(-4935378884118197574), UserHash("u1"), "printf u1 | sha256sum | head -c 16")
}

func TestReadPart(t *testing.T) {
	t.Parallel()
	long, hash := strings.Repeat("x", 129), strings.Repeat("0a", 32)
	for name, tt := range map[string]struct {
		text    string
		kind    ListType
		users   []string
		invalid map[RecordProblem]int64
	}{
		"lines":            {"u1\nu2\n", ListOfUserIDs, []string{"u1", "u2"}, nil},
		"no end of line":   {"u1\nu2", ListOfUserIDs, []string{"u1", "u2"}, nil},
		"commas and space": {" u1 , u2\r\n\r\n\tu3,,", ListOfUserIDs, []string{"u1", "u2", "u3"}, nil},
		"twice":            {"u1,u1", ListOfUserIDs, []string{"u1", "u1"}, nil},
		"empty":            {"", ListOfUserIDs, nil, nil},
		"longest":          {long[1:], ListOfUserIDs, []string{long[1:]}, nil},
		"too long":         {"a\n" + long + "\nb", ListOfUserIDs, []string{"a", "b"}, map[RecordProblem]int64{RecordTooLong: 1}},
		"endless":          {strings.Repeat("x", 1<<20) + ",b", ListOfUserIDs, []string{"b"}, map[RecordProblem]int64{RecordTooLong: 1}},
		"endless space":    {strings.Repeat(" ", 1<<20) + "a,b", ListOfUserIDs, []string{"b"}, map[RecordProblem]int64{RecordTooLong: 1}},
		"no hashes":        {hash[1:] + "," + hash + "0,g" + hash[1:], ListOfHashes, nil, map[RecordProblem]int64{RecordNotHash: 3}},
		"any bytes":        {"\xff\x00", ListOfUserIDs, []string{"\xff\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []int64
			for _, u := range tt.users {
				want = append(want, UserHash(u))
			}
			slices.Sort(want)
			for _, r := range []io.Reader{strings.NewReader(tt.text), iotest.DataErrReader(strings.NewReader(tt.text)), iotest.HalfReader(strings.NewReader(tt.text))} {
				got, err := ReadPart(r, tt.kind)
				require.NoError(t, err)
				require.Equal(t, want, got.Users)
				require.Equal(t, tt.invalid, got.Invalid)
				require.Equal(t, int64(len(want)), got.Valid())
				require.Equal(t, int64(len(tt.text)), got.Bytes)
				require.Equal(t, sha256.Sum256([]byte(tt.text)), got.SHA256)
			}
		})
	}
	broken := errors.New("broken")
	_, err := ReadPart(iotest.ErrReader(broken), ListOfUserIDs)
	require.ErrorIs(t, err, broken)
	sum := sha256.Sum256([]byte("u1"))
	got, err := ReadPart(strings.NewReader(strings.ToUpper(hex.EncodeToString(sum[:]))), ListOfHashes)
	require.NoError(t, err)
	require.Equal(t, []int64{UserHash("u1")}, got.Users)
}

// TestAPartIsReadTheSameHoweverItComes cuts a text into pieces.
func TestAPartIsReadTheSameHoweverItComes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab ,\n\r\t")), 0, 400, -1).Draw(t, "text")
		text = strings.ReplaceAll(text, "a", strings.Repeat("y", rapid.SampledFrom([]int{1, 127, 128, 129, 300}).Draw(t, "length")))
		whole, err := ReadPart(strings.NewReader(text), ListOfUserIDs)
		require.NoError(t, err)
		pieces, err := ReadPart(iotest.OneByteReader(strings.NewReader(text)), ListOfUserIDs)
		require.NoError(t, err)
		require.Equal(t, whole, pieces)
	})
}

// zeros gives a record a line for ever.
type zeros struct{ line string }

func (z zeros) Read(p []byte) (int, error) {
	n := 0
	for n+len(z.line) <= len(p) {
		n += copy(p[n:], z.line)
	}
	return n, nil
}

func TestAPartIsBounded(t *testing.T) {
	t.Parallel()
	_, err := ReadPart(zeros{"u\n"}, ListOfUserIDs)
	require.Equal(t, fault.TooLarge, fault.From(err).Code)
	require.Contains(t, err.Error(), "1048576 records")
	_, err = ReadPart(zeros{strings.Repeat("x", 1000)}, ListOfUserIDs)
	require.Equal(t, fault.TooLarge, fault.From(err).Code)
	require.Contains(t, err.Error(), "134217728 bytes")
}

// TestAPartTakesEightBytesARecord reads 50 MB of records that are no hashes, and hardly allocates.
func TestAPartTakesEightBytesARecord(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := ReadPart(io.LimitReader(zeros{strings.Repeat("g", 63) + "\n"}, 50<<20), ListOfHashes)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Equal(t, int64(50<<20/64), got.Records)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestSlicesAreInTheOrderOfUsers(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0, SliceOf(-1<<63))
	require.Equal(t, 127, SliceOf(-1))
	require.Equal(t, 128, SliceOf(0))
	require.Equal(t, 255, SliceOf(1<<63-1))
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		if a <= b {
			require.LessOrEqual(t, SliceOf(a), SliceOf(b))
		}
	})
}

func TestAnUploadMustBeComplete(t *testing.T) {
	t.Parallel()
	parts := func(numbers ...int) (list []UploadPart) {
		for _, n := range numbers {
			list = append(list, UploadPart{Number: n, Records: 1})
		}
		return list
	}
	require.NoError(t, Upload{TotalParts: 2}.checkComplete(parts(1, 2)))
	require.NoError(t, Upload{}.checkComplete(parts(1, 2, 3)))
	for name, err := range map[string]error{
		"none": Upload{}.checkComplete(nil), "a gap": Upload{}.checkComplete(parts(1, 3)), "missing": Upload{TotalParts: 3}.checkComplete(parts(1, 3)),
		"too large": Upload{}.checkComplete([]UploadPart{{Number: 1, Records: MaxUploadRecords + 1}}),
	} {
		require.Equal(t, fault.Invalid, fault.From(err).Code, name)
	}
	require.Contains(t, fmt.Sprint(Upload{TotalParts: 3}.checkComplete(parts(1, 3))), "part 2 is missing")
}
