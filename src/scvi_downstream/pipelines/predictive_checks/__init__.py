"""Does the fitted model generate counts like those observed?"""
