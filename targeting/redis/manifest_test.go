package redis_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/targeting/redis"
)

const aManifest = `{"generation":"g1","base_seq":7,"max_ctr":0.1,"max_cvr":0.5,"ads":3,` +
	`"tables":{"name":"g1.tables","bytes":5,"checksum":"0123456789abcdef"},` +
	`"segments":[{"name":"g1.0","bytes":300000,"checksum":"0123456789abcdef","ads":3}]}`

func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	again, err := redis.ReadManifest(redis.Sign(aManifest))
	require.NoError(t, err)
	require.Equal(t, redis.Sign(aManifest), again)
}

func TestAnyDamageOfAManifestIsFound(t *testing.T) {
	t.Parallel()
	text := redis.Sign(aManifest)
	for i := range text {
		for _, b := range []byte{text[i] ^ 1, 0, 'x'} {
			if b == text[i] {
				continue
			}
			_, err := redis.ReadManifest(text[:i] + string([]byte{b}) + text[i+1:])
			require.ErrorIs(t, err, redis.ErrDamaged, "byte %d", i)
		}
		_, err := redis.ReadManifest(text[:i])
		require.ErrorIs(t, err, redis.ErrDamaged, "cut at %d", i)
	}
}

func TestAManifestThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"no generation":   `{"max_ctr":0.1,"max_cvr":0.5,"tables":{"name":"t","bytes":5,"checksum":"0123456789abcdef"}}`,
		"bounds":          `{"generation":"g","max_ctr":1.1,"max_cvr":0.5,"tables":{"name":"t","bytes":5,"checksum":"0123456789abcdef"}}`,
		"no tables":       `{"generation":"g","max_ctr":0.1,"max_cvr":0.5}`,
		"a large blob":    `{"generation":"g","max_ctr":0.1,"max_cvr":0.5,"tables":{"name":"t","bytes":5000000000,"checksum":"0123456789abcdef"}}`,
		"a key of others": `{"generation":"g","max_ctr":0.1,"max_cvr":0.5,"tables":{"name":"t}x{u:","bytes":5,"checksum":"0123456789abcdef"}}`,
		"another sum":     `{"generation":"g","max_ctr":0.1,"max_cvr":0.5,"ads":1,"tables":{"name":"t","bytes":5,"checksum":"0123456789abcdef"}}`,
		"a blob twice":    `{"generation":"g","max_ctr":0.1,"max_cvr":0.5,"tables":{"name":"t","bytes":5,"checksum":"0123456789abcdef"},"segments":[{"name":"t","bytes":5,"checksum":"0123456789abcdef"}]}`,
		"no JSON":         `{`,
	} {
		_, err := redis.ReadManifest(redis.Sign(doc))
		require.ErrorIs(t, err, redis.ErrDamaged, name)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(redis.Sign(aManifest))
	f.Add(aManifest)
	f.Add("{}")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{text, redis.Sign(text)} {
			written, err := redis.ReadManifest(text)
			if err != nil {
				require.ErrorIs(t, err, redis.ErrDamaged)
				continue
			}
			again, err := redis.ReadManifest(written)
			require.NoError(t, err)
			require.Equal(t, written, again)
		}
	})
}
