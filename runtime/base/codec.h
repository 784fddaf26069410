/* How a payload is to be read. */
#ifndef PL_BASE_CODEC_H
#define PL_BASE_CODEC_H

typedef enum pl_codec { PL_CODEC_JSON, PL_CODEC_TEXT, PL_CODEC_BYTES } pl_codec;
#endif
